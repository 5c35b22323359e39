package admission

import (
	"container/list"
	"net/netip"
)

// recent remembers a value for each of the sources that were touched last, and for no more than
// most: unauthenticated clients decide how many there are. Not safe for concurrent use.
type recent[V any] struct {
	most   int
	order  list.List // of *remembered[V], the one touched last in front
	values map[netip.Prefix]*list.Element
}

type remembered[V any] struct {
	key   netip.Prefix
	value V
}

func newRecent[V any](most int) *recent[V] {
	return &recent[V]{most: most, values: map[netip.Prefix]*list.Element{}}
}

// get returns what is remembered of key, nil if nothing is.
func (r *recent[V]) get(key netip.Prefix) *V {
	e := r.values[key]
	if e == nil {
		return nil
	}
	return &e.Value.(*remembered[V]).value // nothing else is ever put in
}

// touch returns what is remembered of key, the zero value if nothing was, and has it forgotten
// last.
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
