package server

import (
	"time"

	"tunnel/transport"
)

const (
	// restartTime is when the first client shall come back: about what a restart takes.
	restartTime = 500 * time.Millisecond
	// restartSpread is how long after another the next shall come, so that a thousand take three
	// seconds: each costs a handshake, with TLS a signature.
	restartSpread = 3 * time.Millisecond
)

// drain tells every client that the server stops, and when to come back in case that it starts
// again. Each is told another time.
func (s *Server) drain() {
	for i, p := range s.peers.All() {
		p.End(transport.ComeBack(restartTime + time.Duration(i)*restartSpread))
	}
}
