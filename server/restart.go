package server

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

// drain tells every client that the server stops, and when to come back if it is a restart. Each is
// told another time.
func (s *Server) drain() {
	for i, p := range s.peers.All() {
		p.End(transport.ComeBack(restartTime + time.Duration(i)*restartSpread))
	}
}
