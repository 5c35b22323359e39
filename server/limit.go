package server

import (
	"time"

	"tunnel/server/admission"
)

// limits are limits that no flag sets: what an unauthenticated client can hold open, and how long.
type limits struct {
	request time.Duration // TLS handshake, request with its body, and a response without upgrade
	connect time.Duration // from the upgrade to the connect message
	// unauthenticated connections at once from sources without a recent right token
	unknown  int
	reserved int           // the same from sources with one, from this machine and from proxies
	settle   time.Duration // for the device's reader to read what was sent before
	bans     admission.BanRules
	now      func() time.Time // the clock for packets held for disconnected clients
}

func defaultLimits() *limits {
	return &limits{
		request: 10 * time.Second, connect: 10 * time.Second,
		unknown: admission.DefaultUnknown, reserved: admission.DefaultReserved,
		settle: 250 * time.Millisecond, bans: admission.DefaultBanRules(), now: time.Now,
	}
}

const (
	// unauthenticatedRoom is the bytes that an unauthenticated connection may take, see
	// docs/PERFORMANCE.md.
	unauthenticatedRoom = 64 << 10
	// leastCapacity is the least number of them, however little memory there is.
	leastCapacity = 64
)

// capacity returns how many unauthenticated connections fit into memory bytes, at most most. If
// memory is 0 there is no limit of memory.
func (l *limits) capacity(most int, memory int64) int {
	if memory == 0 {
		return most
	}
	return min(most, max(int(memory/unauthenticatedRoom), leastCapacity))
}
