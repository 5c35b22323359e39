package client

import (
	"math/rand/v2"
	"time"
)

const (
	minDelay = 500 * time.Millisecond
	maxDelay = 15 * time.Second
	steady   = 15 * time.Second // a session that lasted this long makes the next attempt a first one again
)

// backoff is the time between attempts: its bound doubles from minDelay to maxDelay, and each wait is drawn from the upper
// half (from 0.25 s at first), so that a thousand clients of one server do not come back in step.
type backoff struct{ last time.Duration }

// next returns how long to wait now.
func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, minDelay), maxDelay)
	return b.last/2 + rand.N(b.last/2+1)
}
