// Package admission decides which connections a server takes: how many in all and from where, whose handshakes it spends
// processor time on, who is banned from logging in, and whom a proxy's header speaks for.
package admission

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Rules are what a Limiter goes by.
type Rules struct {
	Total     int                       // connections at once; 0 is no limit
	PerSource int                       // of them from one source; 0 is no limit
	Unknown   int                       // unauthenticated connections from sources that are not Known; at least 1
	Reserved  int                       // the same from sources that are, and from this machine and proxies; at least 1
	Proxies   Proxies                   // whose connections are counted when they have told whom they are for
	Known     func(s netip.Prefix) bool // reports whether s has authenticated lately; must not call the Limiter
	Plain     bool                      // there is no TLS: a request is what a handshake is otherwise
	Refused   func(Reason, netip.Addr)  // called for each connection that is turned away; must not wait
	Log       *slog.Logger              // of attacks
	Now       func() time.Time          // the clock
}

const (
	// DefaultUnknown is for Rules.Unknown; docs/PERFORMANCE.md has what such a connection costs.
	DefaultUnknown = 4096
	// DefaultReserved is for Rules.Reserved: a thousand clients that come back at once.
	DefaultReserved = 1024
)

// Limiter counts connections from accept to their end, and takes no more than its rules allow. It never waits, so that the
// backlog of the listener stays empty: when too many unauthenticated connections are there, one of those has to go (see
// pool). Sources that are known have places, and processor time, of their own.
//
// http.Server's hooks tell it what becomes of a connection; a wrapper of the connection would take writev away from
// transport.
type Limiter struct {
	rules   Rules
	attack  *attack
	share   *share
	unknown *pool // has a lock of its owner, as the others: mu
	known   *pool
	local   *pool // of sources that are not counted

	mu      sync.Mutex
	tracked map[net.Conn]*Tracked
	sources map[netip.Prefix]*source
	buckets *buckets
}

// Tracked is one connection.
type Tracked struct {
	conn    net.Conn
	address netip.Addr
	key     netip.Prefix // that it is counted under, the zero prefix if it is not
	source  *source      // nil is not counted

	// Until it has authenticated, or is forgotten.
	pool  *pool
	leaf  *node
	index int // in leaf

	asked         bool // a whole request came
	authenticated bool
	upgraded      bool // its end is the handler's, not the http.Server's
}

// source is what the connections from one address (IPv6: /64) have in common.
type source struct {
	key           netip.Prefix
	connections   int
	authenticated int // of them
}

// New returns a Limiter that has no connections yet.
func New(rules Rules) *Limiter {
	bounds := caps{source: 256, site: 512, net: 1024}
	return &Limiter{
		rules: rules, attack: newAttack(rules.Log, rules.Now), share: newShare(rules.Now),
		unknown: newPool(rules.Unknown, bounds), known: newPool(rules.Reserved, caps{}), local: newPool(rules.Reserved, caps{}),
		tracked: map[net.Conn]*Tracked{}, sources: map[netip.Prefix]*source{}, buckets: newBuckets(defaultRates(rules.PerSource)),
	}
}

// Run writes a line about each attack, and then one a minute while it lasts, until ctx ends.
func (l *Limiter) Run(ctx context.Context) { l.attack.run(ctx) }

// locked runs f with the lock, which is free again even if f panics: somebody may recover from that.
func (l *Limiter) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Admit takes c, or returns false, and the caller has to Abort it. It may close others for it.
func (l *Limiter) Admit(c net.Conn) bool {
	address := addressOfConn(c.RemoteAddr())
	key := SourceOf(address)
	if l.rules.Proxies.Has(address) {
		key = netip.Prefix{} // its clients are counted one by one when they have told who they are
	}
	var evicted []*Tracked
	var why Reason
	var ok bool
	l.locked(func() { evicted, why, ok = l.add(&Tracked{conn: c, address: address}, key) })
	l.abort(evicted)
	if !ok {
		l.refuse(why, address, key)
	}
	return ok
}

// add makes t one of the connections. The caller holds mu, and aborts those that are evicted.
func (l *Limiter) add(t *Tracked, key netip.Prefix) (evicted []*Tracked, why Reason, ok bool) {
	known := l.isKnown(key)
	pool := l.poolOf(key, known)
	if !l.buckets.pays(key, known, false, l.rules.Now()) {
		return nil, Rate, false
	}
	if l.full(key) {
		victim := l.victimOf(key)
		if victim == nil {
			return nil, PerSource, false
		}
		l.forget(victim)
		evicted = append(evicted, victim)
	}
	if l.rules.Total > 0 && len(l.tracked) >= l.rules.Total {
		victim := l.crowded(pool)
		if victim == nil {
			return evicted, Total, false
		}
		l.forget(victim)
		evicted = append(evicted, victim)
	}
	l.tracked[t.conn] = t
	l.count(t, key)
	return append(evicted, l.place(t, pool, key)...), 0, true
}

// place puts t into a pool, and returns those that have to go for it. The caller holds mu.
func (l *Limiter) place(t *Tracked, pool *pool, key netip.Prefix) (evicted []*Tracked) {
	evicted = pool.add(t, key)
	for _, victim := range evicted {
		l.forget(victim)
	}
	return evicted
}

func (l *Limiter) isKnown(key netip.Prefix) bool {
	s := l.sources[key]
	return key.IsValid() && (s != nil && s.authenticated > 0 || l.rules.Known(key))
}

func (l *Limiter) poolOf(key netip.Prefix, known bool) *pool {
	switch {
	case !key.IsValid():
		return l.local
	case known:
		return l.known
	}
	return l.unknown
}

// full reports whether a source has as many connections as it may.
func (l *Limiter) full(key netip.Prefix) bool {
	s := l.sources[key]
	return s != nil && l.rules.PerSource > 0 && s.connections >= l.rules.PerSource
}

// victimOf returns the unauthenticated connection of a source that has to go first, nil if it has none.
func (l *Limiter) victimOf(key netip.Prefix) *Tracked {
	for _, p := range []*pool{l.unknown, l.known} {
		if n := p.nodes[key]; n != nil {
			return n.victim()
		}
	}
	return nil
}

// crowded returns the connection that has to go first when there are too many in all: of those from
// sources that are not known or of those from this machine and proxies, whichever are more, so that
// neither keep the others out; then of the newcomer's pool. It returns nil if none may go.
func (l *Limiter) crowded(newcomer *pool) *Tracked {
	more, fewer := l.unknown, l.local
	if fewer.root.count > more.root.count {
		more, fewer = fewer, more
	}
	return firstOf(more, fewer, newcomer)
}

// firstOf returns the connection that has to go first of the first pool that has any, nil if none has.
func firstOf(pools ...*pool) *Tracked {
	for _, p := range pools {
		if p.root.count > 0 {
			return p.root.victim()
		}
	}
	return nil
}

// Relieve closes some unauthenticated connections, if there are any: there are no files for others.
func (l *Limiter) Relieve() {
	var evicted []*Tracked
	l.locked(func() {
		for range 16 {
			if victim := l.crowded(l.known); victim != nil {
				l.forget(victim)
				evicted = append(evicted, victim)
			}
		}
	})
	l.abort(evicted)
}

// abort closes connections that were forgotten, without the lock: the kernel has to send something for each.
func (l *Limiter) abort(evicted []*Tracked) {
	for _, t := range evicted {
		Abort(t.conn)
		l.refuse(Evicted, t.address, t.key)
	}
}

// Abort closes a TCP connection at once and for good: with a reset, so that nothing of it stays in the kernel.
func Abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// under returns the connection that was admitted, of which c is what the http.Server has.
func under(c net.Conn) net.Conn {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		return wrapped.NetConn()
	}
	return c
}

func (l *Limiter) refuse(why Reason, address netip.Addr, key netip.Prefix) {
	l.attack.note(why, key)
	l.rules.Refused(why, address)
}

// Handshake is asked before each TLS handshake's costly part, and waits until there is processor time for it. The error
// is that the connection should be aborted instead. end is called after that part, on the same goroutine.
func (l *Limiter) Handshake(remote net.Addr) (end func(), err error) {
	address := addressOfConn(remote)
	key := SourceOf(address)
	if !key.IsValid() || l.rules.Proxies.Has(address) {
		return func() {}, nil
	}
	var known, pays bool
	l.locked(func() {
		known = l.isKnown(key)
		pays = l.buckets.pays(key, known, true, l.rules.Now())
	})
	switch {
	case !pays:
		l.refuse(Rate, address, key)
		return nil, errRate
	case known:
		return func() {}, nil
	}
	end, ok := l.share.begin()
	if !ok {
		l.refuse(Late, address, key)
		return nil, errLate
	}
	return end, nil
}

var (
	errRate = errors.New("too many handshakes from there")
	errLate = errors.New("no processor time for the handshake")
)

// Requested notes that a whole request has come by t, from key: a proxy has told where from, if it came by one. It returns
// false, with the reason, when there may be no more from there.
func (l *Limiter) Requested(t *Tracked, key netip.Prefix) (why Reason, ok bool) {
	var evicted []*Tracked
	l.locked(func() { evicted, why, ok = l.requested(t, key) })
	l.abort(evicted)
	if !ok {
		l.attack.note(why, key)
	}
	return why, ok
}

func (l *Limiter) requested(t *Tracked, key netip.Prefix) (evicted []*Tracked, why Reason, ok bool) {
	t.asked = true
	if l.tracked[t.conn] != t || !key.IsValid() {
		return nil, 0, true // cut off, or not counted
	}
	moves := t.source == nil
	known := l.isKnown(key)
	if moves && l.full(key) {
		return nil, PerSource, false
	}
	if (moves || l.rules.Plain) && !l.buckets.pays(key, known, true, l.rules.Now()) {
		return nil, Rate, false
	}
	if !moves {
		return nil, 0, true
	}
	l.count(t, key)
	if t.pool != nil {
		t.pool.remove(t)
		evicted = l.place(t, l.poolOf(key, known), key)
	}
	return evicted, 0, true
}

// Authenticated notes that a right token has come by t.
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

// Live reports whether a connection from key has authenticated.
func (l *Limiter) Live(key netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[key]
	return s != nil && s.authenticated > 0
}

// Len returns how many connections there are.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tracked)
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

// forget ends the counting of t. It may be called twice.
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

// ConnState is the http.Server's hook of that name.
func (l *Limiter) ConnState(c net.Conn, state http.ConnState) {
	var t *Tracked
	silent := false
	l.locked(func() {
		t = l.tracked[under(c)]
		switch {
		case t == nil: // cut off
		case state == http.StateHijacked:
			t.upgraded = true
		case state == http.StateClosed:
			silent = !t.asked
			l.forget(t)
		}
	})
	if silent {
		l.refuse(Silent, t.address, netip.Prefix{})
	}
}

// Leave notes that the handler of t's request is done. What was upgraded is closed by then.
func (l *Limiter) Leave(t *Tracked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.upgraded {
		l.forget(t)
	}
}

type trackedKey struct{}

// ConnContext is the http.Server's hook of that name; see Of.
func (l *Limiter) ConnContext(ctx context.Context, c net.Conn) context.Context {
	var t *Tracked
	l.locked(func() { t = l.tracked[under(c)] })
	if t == nil { // cut off already
		t = &Tracked{conn: under(c)}
	}
	return context.WithValue(ctx, trackedKey{}, t)
}

// Of returns the connection that a request came by.
func Of(r *http.Request) *Tracked {
	t, _ := r.Context().Value(trackedKey{}).(*Tracked)
	return t
}
