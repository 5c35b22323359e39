package server

import "time"

// Hasten makes every time-out before the session, and the first ban, that short; the later bans in
// proportion. It comes before what sets the same things.
func (c *Config) Hasten(request, ban time.Duration) {
	l := c.ownLimits()
	l.request, l.connect = request, request
	l.bans.First, l.bans.Most = ban, 15*ban
}

// Unauthenticated sets how many connections may be there before they have logged in, of each kind
// of source.
func (c *Config) Unauthenticated(n int) { l := c.ownLimits(); l.unknown, l.reserved = n, n }

func (c *Config) ownLimits() *limits {
	if c.limits == nil {
		c.limits = defaultLimits()
	}
	return c.limits
}

// Forget sets for how long a right token, or a ban, is remembered.
func (c *Config) Forget(memory time.Duration) { c.ownLimits().bans.Memory = memory }

// Peers returns how many clients have their places.
func (s *Server) Peers() int { return len(s.peers.All()) }

// Connections returns how many there are, be they authenticated or not.
func (s *Server) Connections() int { return s.limiter.Len() }

// Clock sets the clock of what is held for clients that are away.
func (c *Config) Clock(now func() time.Time) { c.ownLimits().now = now }
