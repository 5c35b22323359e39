package admission

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Tracked is a connection that a Limiter counts.
type Tracked struct {
	Accepted time.Time // zero if it was evicted before its request

	conn    net.Conn
	address netip.Addr
	key     netip.Prefix // counted under this, or not if it is the zero prefix
	source  *source      // nil if it is not counted

	// Until it authenticates or ends.
	pool  *pool
	leaf  *node
	index int // in leaf

	asked         bool // a whole request has come
	authenticated bool
	upgraded      bool // the handler reports its end, not the http.Server
}

// source is what the connections from one address (IPv6: /64) have in common.
type source struct {
	key           netip.Prefix
	connections   int
	authenticated int // of them
}

// ConnContext is the http.Server's hook of that name; see Of.
func (l *Limiter) ConnContext(ctx context.Context, c net.Conn) context.Context {
	var t *Tracked
	l.locked(func() { t = l.tracked[under(c)] })
	if t == nil { // evicted already
		t = &Tracked{conn: under(c)}
	}
	return context.WithValue(ctx, trackedKey{}, t)
}

type trackedKey struct{}

// Of returns the connection that a request came by.
func Of(r *http.Request) *Tracked {
	t, _ := r.Context().Value(trackedKey{}).(*Tracked)
	return t
}

// Requested records that a whole request has come on t. key is its source, which a proxy may have
// named. Requested returns false and the reason if the source has reached a limit.
func (l *Limiter) Requested(t *Tracked, key netip.Prefix) (why Reason, ok bool) {
	var evicted []*Tracked
	l.locked(func() { evicted, why, ok = l.requested(t, key) })
	l.abort(evicted)
	if !ok {
		l.attack.note(why, key)
	}
	return why, ok
}

func (l *Limiter) requested(t *Tracked, key netip.Prefix) (evicted []*Tracked, why Reason,
	ok bool) {
	t.asked = true
	if l.tracked[t.conn] != t || !key.IsValid() {
		return nil, 0, true // evicted, or not counted
	}
	moves := t.source == nil
	known := l.isKnown(key)
	if !moves {
		return nil, 0, true
	}
	if l.full(key) {
		return nil, PerSource, false
	}
	if !l.buckets.pays(key, known, l.rules.Now()) {
		return nil, Rate, false
	}
	l.count(t, key)
	if t.pool != nil {
		t.pool.remove(t)
		evicted = l.assign(t, l.poolOf(key, known), key)
	}
	return evicted, 0, true
}

// Authenticated records that a valid token has come on t.
func (l *Limiter) Authenticated(t *Tracked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tracked[t.conn] != t || t.pool == nil {
		return
	}
	t.pool.remove(t)
	t.authenticated = true
	if t.source != nil {
		t.source.authenticated++
	}
}

// Leave records that the handler of t's request has returned. An upgraded connection is closed by
// then.
func (l *Limiter) Leave(t *Tracked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.upgraded {
		l.forget(t)
	}
}

// ConnState is the http.Server's hook of that name.
func (l *Limiter) ConnState(c net.Conn, state http.ConnState) {
	var t *Tracked
	silent := false
	l.locked(func() {
		if t = l.tracked[under(c)]; t != nil {
			t.upgraded = t.upgraded || state == http.StateHijacked
			silent = !t.asked
		}
	})
	if t == nil || state != http.StateClosed { // evicted, or still open
		return
	}
	if silent {
		l.refuse(Silent, t.address, netip.Prefix{})
	}
	l.locked(func() { l.forget(t) }) // when it is counted, so that no count is missed at the end
}

// under returns the admitted connection that the http.Server has as c.
func under(c net.Conn) net.Conn {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return c
}

// count counts t, which is not authenticated, under key.
func (l *Limiter) count(t *Tracked, key netip.Prefix) {
	if !key.IsValid() {
		return
	}
	s := l.sources[key]
	if s == nil {
		s = &source{key: key}
		l.sources[key] = s
	}
	s.connections++
	t.key, t.source = key, s
}

// forget stops counting t. It may be called twice.
func (l *Limiter) forget(t *Tracked) {
	if l.tracked[t.conn] != t {
		return
	}
	delete(l.tracked, t.conn)
	if t.pool != nil {
		t.pool.remove(t)
	}
	s := t.source
	if s == nil {
		return
	}
	t.source = nil
	s.connections--
	if t.authenticated {
		s.authenticated--
	}
	if s.connections == 0 {
		delete(l.sources, s.key)
	}
}
