package server

import "time"

// Hasten makes every time-out of a stranger, the grace of the oldest one, and the first ban that short; the later bans in
// proportion. It comes before what sets the same things.
func (c *Config) Hasten(request, grace, ban time.Duration) {
	l := c.ownLimits()
	l.request, l.connect, l.grace = request, request, grace
	l.bans.first, l.bans.most = ban, 15*ban
}

// Strangers sets how many may be there at once, in all and from one source.
func (c *Config) Strangers(all, source int) {
	l := c.ownLimits()
	l.strangers, l.perNew = all, source
}

func (c *Config) ownLimits() *limits {
	if c.limits == nil {
		c.limits = defaultLimits()
	}
	return c.limits
}

// Forget sets for how long a right token, or a ban, is remembered.
func (c *Config) Forget(memory time.Duration) { c.ownLimits().bans.memory = memory }

// Peers returns how many clients have their places.
func (s *Server) Peers() int { return len(s.peers.all()) }

// Quiet makes it a long time ago that somebody sent to clients that are away.
func (s *Server) Quiet() {
	s.peers.mu.Lock()
	defer s.peers.mu.Unlock()
	for _, h := range s.peers.away {
		h.mu.Lock()
		h.last = h.last.Add(-quiet)
		h.mu.Unlock()
	}
}

// Guests returns how many connections have their places, those of strangers too.
func (s *Server) Guests() int {
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	return len(s.door.guests)
}
