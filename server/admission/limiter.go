// Package admission decides which connections a server admits: how many in all and from each
// source, whose handshakes get processor time, which sources are banned from logging in, and which
// client a proxy's header names.
package admission

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Rules configure a Limiter.
type Rules struct {
	Total     int // connections at once; 0 is no limit
	PerSource int // of them from one source; 0 is no limit
	// unauthenticated connections from sources that are not Known; at least 1
	Unknown int
	// the same from Known sources, and from this machine and proxies together; at least 1
	Reserved int
	// whose connections count for the client that their request names
	Proxies Proxies
	// reports whether s authenticated recently; must not call the Limiter
	Known func(s netip.Prefix) bool
	// called for each refused connection; must not block
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

// Limiter counts connections from accept to close, and admits no more than its rules allow. Admit
// never blocks, so that the listener's backlog stays empty: when there are too many unauthenticated
// connections, one of them is evicted (see pool). Known sources have a pool of their own, and do
// not wait for processor time.
//
// It follows a connection's state by http.Server's hooks: a wrapper of the connection would hide
// writev from transport.
type Limiter struct {
	rules  Rules
	attack *attack
	share  *share

	mu      sync.Mutex // guards the rest
	unknown *pool
	known   *pool
	local   *pool // of this machine and proxies
	tracked map[net.Conn]*Tracked
	sources map[netip.Prefix]*source
	buckets *buckets
}

// New returns a Limiter without connections.
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

// Change replaces Rules.Total and Rules.PerSource. Connections that are there stay.
func (l *Limiter) Change(total, perSource int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules.Total, l.rules.PerSource = total, perSource
	l.buckets.rates = defaultRates(perSource)
}

// Run logs attacks until ctx ends: a line at the beginning, one a minute, and one at the end.
func (l *Limiter) Run(ctx context.Context) { l.attack.run(ctx) }

// locked runs f with mu held, and releases mu even if f panics: the caller may recover.
func (l *Limiter) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// TurnsAway reports whether Admit would refuse a connection from remote because too many came from
// there lately. If so it counts as refused, and the caller need not make a net.Conn of it.
func (l *Limiter) TurnsAway(remote netip.Addr) bool {
	key := SourceOf(remote)
	if l.rules.Proxies.Has(remote) {
		return false // Requested counts the client
	}
	var able bool
	l.locked(func() { able = l.buckets.able(key, l.isKnown(key), l.rules.Now()) })
	if !able {
		l.refuse(Rate, remote, key)
	}
	return !able
}

// Admit reports whether c may stay; if not, the caller calls Abort. It may close other connections
// to make room for c.
func (l *Limiter) Admit(c net.Conn) bool {
	address := addressOfConn(c.RemoteAddr())
	key := SourceOf(address)
	if l.rules.Proxies.Has(address) {
		key = netip.Prefix{} // Requested counts the client
	}
	var evicted []*Tracked
	var why Reason
	var ok bool
	l.locked(func() {
		evicted, why, ok = l.add(&Tracked{Accepted: l.rules.Now(),
			conn: c, address: address}, key)
	})
	l.abort(evicted)
	if !ok {
		l.refuse(why, address, key)
	}
	return ok
}

// add counts t. The caller holds mu, and then aborts the evicted connections.
func (l *Limiter) add(t *Tracked, key netip.Prefix) (evicted []*Tracked, why Reason, ok bool) {
	known := l.isKnown(key)
	pool := l.poolOf(key, known)
	if !l.buckets.pays(key, known, l.rules.Now()) {
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
		victim := l.victim(pool)
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

// assign adds t to a pool, and returns the connections that it evicted. The caller holds mu.
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
