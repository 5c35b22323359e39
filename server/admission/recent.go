package admission

import (
	"container/list"
	"net/netip"
)

// recent keeps a value for each source, and drops the least recently used: unauthenticated clients
// decide how many sources there are. It is not safe for concurrent use.
type recent[V any] struct {
	most   int       // values, at least 1
	order  list.List // of *remembered[V], the most recently used in front
	values map[netip.Prefix]*list.Element
}

type remembered[V any] struct {
	key   netip.Prefix
	value V
}

func newRecent[V any](most int) *recent[V] {
	return &recent[V]{most: most, values: map[netip.Prefix]*list.Element{}}
}

// get returns the value of key, nil if there is none.
func (r *recent[V]) get(key netip.Prefix) *V {
	e := r.values[key]
	if e == nil {
		return nil
	}
	return &e.Value.(*remembered[V]).value // nothing else is ever put in
}

// touch returns the value of key, which it makes if there is none, and marks it as used.
func (r *recent[V]) touch(key netip.Prefix) *V {
	if e := r.values[key]; e != nil {
		r.order.MoveToFront(e)
		return r.get(key)
	}
	if len(r.values) >= r.most {
		oldest := r.order.Back()
		delete(r.values, r.order.Remove(oldest).(*remembered[V]).key) // as in get
	}
	r.values[key] = r.order.PushFront(&remembered[V]{key: key})
	return r.get(key)
}
