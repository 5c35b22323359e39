package admission

import (
	"net"
	"net/netip"
)

// full reports whether a source has as many connections as it may.
func (l *Limiter) full(key netip.Prefix) bool {
	s := l.sources[key]
	return s != nil && l.rules.PerSource > 0 && s.connections >= l.rules.PerSource
}

// victimOf returns the unauthenticated connection of a source that has to go first, nil if it has
// none.
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

// firstOf returns the connection that has to go first of the first pool that has any, nil if none
// has.
func firstOf(pools ...*pool) *Tracked {
	for _, p := range pools {
		if p.root.count > 0 {
			return p.root.victim()
		}
	}
	return nil
}

// MakeRoom closes some unauthenticated connections, if there are any: there are no files for
// others.
func (l *Limiter) MakeRoom() {
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

// abort closes connections that were forgotten, without the lock: the kernel has to send something
// for each.
func (l *Limiter) abort(evicted []*Tracked) {
	for _, t := range evicted {
		Abort(t.conn)
		l.refuse(Evicted, t.address, t.key)
	}
}

// Abort closes a TCP connection at once and for good: with a reset, so that nothing of it stays in
// the kernel.
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
