package server

import (
	"time"

	"tunnel/server/admission"
)

// limits are those that no flag sets: what an unauthenticated client can hold open, and for how
// long.
type limits struct {
	request time.Duration // TLS handshake, request header, body; and the answer that is no upgrade
	connect time.Duration // from the upgrade to the message connect
	// connections at once that have not logged in, from where no right token came of late
	unknown  int
	reserved int           // the same from where one did, and from this machine and proxies
	settle   time.Duration // in which the device's reader has read what was sent before
	bans     admission.BanRules
	now      func() time.Time // the clock of what is held for clients that are away
}

func defaultLimits() *limits {
	return &limits{
		request: 10 * time.Second, connect: 10 * time.Second,
		unknown: admission.DefaultUnknown, reserved: admission.DefaultReserved,
		settle: 250 * time.Millisecond,
		bans:   admission.DefaultBanRules(),
		now:    time.Now,
	}
}

const (
	// unauthenticatedRoom is the bytes that an unauthenticated connection may take, see
	// docs/PERFORMANCE.md.
	unauthenticatedRoom = 64 << 10
	// leastCapacity is how many of them there are however little memory there may be.
	leastCapacity = 64
)

// capacity returns for how many unauthenticated connections there is room in memory bytes: most at
// the most, which 0 leaves it at.
func (l *limits) capacity(most int, memory int64) int {
	if memory == 0 {
		return most
	}
	return min(most, max(int(memory/unauthenticatedRoom), leastCapacity))
}
