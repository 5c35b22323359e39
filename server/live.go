package server

import (
	"tunnel/policy"
	"tunnel/server/networks"
)

// Live is what can change while a Server runs, see Change.
type Live struct {
	MaxConnections int // at once; 0 is no limit
	// at once from one IPv4 address or IPv6 /64, but not from this machine; 0 is no limit
	MaxPerAddress int
	MaxLanes      int // connections that one client may have at once; 0 is one
	// at once with a token without a limit of its own, lanes counted once; 0 is no limit
	MaxSessions int

	Site networks.Site // networks behind this machine

	policy policy.Hub // that follows
}

// goBy has packets and logins judged by l, and returns its Site.
func (s *Server) goBy(l Live) networks.Site {
	l.policy = policy.Hub{
		Server: s.own.Local, Network: s.Leases.Network(), ClientToClient: l.Site.Together,
		Public: l.Site.Public, Member: s.peers.Member,
	}
	s.live.Store(&l)
	return l.Site
}

// Change has the server go by other values from now on. It ends no connection: a lower limit holds
// for those that come. Clients are told what concerns them, and Machine.Route is called; done is
// closed then, unless Run ends before.
func (s *Server) Change(l Live) (done <-chan struct{}) {
	s.limiter.Change(l.MaxConnections, l.MaxPerAddress)
	return s.networks.Change(s.goBy(l))
}
