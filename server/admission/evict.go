package admission

import (
	"net"
	"net/netip"
)

// full reports whether a source has reached its limit of connections.
func (l *Limiter) full(key netip.Prefix) bool {
	s := l.sources[key]
	return s != nil && l.rules.PerSource > 0 && s.connections >= l.rules.PerSource
}

// victimOf returns the unauthenticated connection of a source to evict, nil if it has none.
func (l *Limiter) victimOf(key netip.Prefix) *Tracked {
	for _, p := range []*pool{l.unknown, l.known} {
		if n := p.nodes[key]; n != nil {
			return n.victim()
		}
	}
	return nil
}

// victim returns the connection to evict when there are too many in all, nil if there is none. It
// is of the larger pool, that of unknown sources or that of this machine and proxies, so that
// neither keeps the other out; if both are empty, it is of the newcomer's pool.
func (l *Limiter) victim(newcomer *pool) *Tracked {
	more, fewer := l.unknown, l.local
	if fewer.root.count > more.root.count {
		more, fewer = fewer, more
	}
	return firstOf(more, fewer, newcomer)
}

// firstOf returns the connection to evict of the first pool that is not empty, nil if all are.
func firstOf(pools ...*pool) *Tracked {
	for _, p := range pools {
		if p.root.count > 0 {
			return p.root.victim()
		}
	}
	return nil
}

// MakeRoom closes some unauthenticated connections, if there are any. It is for a process that has
// no file descriptors left.
func (l *Limiter) MakeRoom() {
	var evicted []*Tracked
	l.locked(func() {
		for range 16 {
			if victim := l.victim(l.known); victim != nil {
				l.forget(victim)
				evicted = append(evicted, victim)
			}
		}
	})
	l.abort(evicted)
}

// abort closes evicted connections. The caller does not hold mu, because the kernel sends a reset
// for each.
func (l *Limiter) abort(evicted []*Tracked) {
	for _, t := range evicted {
		Abort(t.conn)
		l.refuse(Evicted, t.address, t.key)
	}
}

// Abort closes a TCP connection with a reset, so that nothing of it stays in the kernel.
func Abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (l *Limiter) refuse(why Reason, address netip.Addr, key netip.Prefix) {
	l.attack.note(why, key)
	l.rules.Refused(why, address)
}
