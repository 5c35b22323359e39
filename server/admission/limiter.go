// Package admission decides which connections a server takes: how many in all and from where, whose
// handshakes it spends processor time on, who is banned from logging in, and whom a proxy's header
// speaks for.
package admission

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Rules are what a Limiter goes by.
type Rules struct {
	Total     int // connections at once; 0 is no limit
	PerSource int // of them from one source; 0 is no limit
	// unauthenticated connections from sources that are not Known; at least 1
	Unknown int
	// the same from sources that are, and from this machine and proxies; at least 1
	Reserved int
	// whose connections are counted when they have told whom they are for
	Proxies Proxies
	// reports whether s has authenticated lately; must not call the Limiter
	Known func(s netip.Prefix) bool
	// there is no TLS: a request is what a handshake is otherwise
	Plain bool
	// called for each connection that is turned away; must not wait
	Refused func(Reason, netip.Addr)
	Log     *slog.Logger     // of attacks
	Now     func() time.Time // the clock
}

const (
	// DefaultUnknown is for Rules.Unknown; docs/PERFORMANCE.md has what such a connection costs.
	DefaultUnknown = 4096
	// DefaultReserved is for Rules.Reserved: a thousand clients that come back at once.
	DefaultReserved = 1024
)

// Limiter counts connections from accept to their end, and takes no more than its rules allow. It
// never waits, so that the backlog of the listener stays empty: when too many unauthenticated
// connections are there, one of those has to go (see pool). Sources that are known have places, and
// processor time, of their own.
//
// http.Server's hooks tell it what becomes of a connection; a wrapper of the connection would take
// writev away from transport.
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

// New returns a Limiter that has no connections yet.
func New(rules Rules) *Limiter {
	bounds := caps{source: 256, site: 512, net: 1024}
	return &Limiter{
		rules: rules, attack: newAttack(rules.Log, rules.Now), share: newShare(rules.Now),
		unknown: newPool(rules.Unknown, bounds), known: newPool(rules.Reserved, caps{}),
		local:   newPool(rules.Reserved, caps{}),
		tracked: map[net.Conn]*Tracked{}, sources: map[netip.Prefix]*source{},
		buckets: newBuckets(defaultRates(rules.PerSource)),
	}
}

// Run writes a line about each attack, and then one a minute while it lasts, until ctx ends.
func (l *Limiter) Run(ctx context.Context) { l.attack.run(ctx) }

// locked runs f with the lock, which is free again even if f panics: somebody may recover from
// that.
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
	return append(evicted, l.assign(t, pool, key)...), 0, true
}

// assign puts t into a pool, and returns those that have to go for it. The caller holds mu.
func (l *Limiter) assign(t *Tracked, pool *pool, key netip.Prefix) (evicted []*Tracked) {
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
