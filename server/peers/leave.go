package peers

import (
	"time"

	"tunnel/transport"
)

const (
	// restartTime is when the first client should come back: about the time of a restart.
	restartTime = 500 * time.Millisecond
	// restartSpread is the time between the returns of two clients. A thousand take three seconds:
	// each costs a handshake, with TLS a signature.
	restartSpread = 3 * time.Millisecond
)

// Drain tells every client that the server stops, and when to come back if it is a restart. Each is
// told another time.
func (t *Table) Drain() {
	for i, p := range t.All() {
		p.End(transport.ComeBack(restartTime + time.Duration(i)*restartSpread))
	}
}

// Kick ends the sessions of the peers for which which returns true, has them come back after that
// time, and returns how many there were.
func (t *Table) Kick(which func(*Peer) bool, after time.Duration) (sessions int) {
	for _, p := range t.All() {
		if which(p) {
			p.End(transport.Kick(after))
			sessions++
		}
	}
	return sessions
}
