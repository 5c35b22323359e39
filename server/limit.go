package server

import "time"

// limits are those that no flag sets: what a stranger can hold open, and for how long.
type limits struct {
	request   time.Duration // TLS handshake, request header, body; and the answer that is no upgrade
	connect   time.Duration // from the upgrade to the message connect
	strangers int           // connections at once that have not logged in
	perNew    int           // of those from one source
	grace     time.Duration // for which no stranger has to go for another
	settle    time.Duration // in which the device's reader has read what was sent before
	bans      banRules
}

func defaultLimits() *limits {
	return &limits{
		request: 10 * time.Second, connect: 10 * time.Second,
		strangers: 512, perNew: 128, grace: 2 * time.Second,
		settle: 250 * time.Millisecond,
		bans:   defaultBanRules(),
	}
}

// rules returns what the door goes by.
func (l *limits) rules(c Config) doorRules {
	return doorRules{
		total: c.MaxConnections, perSource: c.MaxPerAddress,
		strangers: l.strangers, perNew: l.perNew, grace: l.grace,
	}
}

// queueLimit bounds what waits for one peer, in bytes of buffers.
const queueLimit = 8 << 20
