package client

import (
	"math/rand/v2"
	"time"
)

const (
	minDelay   = 500 * time.Millisecond
	quickDelay = 4 * time.Second
	maxDelay   = 15 * time.Second
	steady     = 15 * time.Second // a session that lasted this long makes the next attempt a first one again
)

// backoff is the time between attempts: its bound doubles from minDelay to quickDelay, goes on to maxDelay when there has
// been no connection for long (it is then an eighth of that time, so that nobody who was cut off for half a minute waits
// for another quarter), and each wait is drawn from the upper half (from 0.25 s at first), so that a thousand clients of
// one server do not come back in step.
type backoff struct {
	last  time.Duration
	began time.Time // of the first wait
}

// next returns how long to wait now.
func (b *backoff) next(now time.Time) time.Duration {
	if b.began.IsZero() {
		b.began = now
	}
	bound := min(max(quickDelay, now.Sub(b.began)/8), maxDelay)
	b.last = min(max(2*b.last, minDelay), bound)
	return b.last/2 + rand.N(b.last/2+1)
}
