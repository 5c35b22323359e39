// Package backoff computes how long a client waits between attempts.
package backoff

import (
	"errors"
	"math/rand/v2"
	"time"

	"tunnel/transport"
)

const (
	minWait   = 500 * time.Millisecond // the shortest wait, whatever the server asks for
	quickWait = 4 * time.Second
	maxWait   = 15 * time.Second
	// Steady is how long a session must last to reset the Backoff.
	Steady = 15 * time.Second
)

// Backoff computes the time between attempts. Its bound doubles from twice minWait to quickWait.
// After a long time without a connection it is an eighth of that time, up to maxWait, so that a
// short outage is not followed by a long wait. Each wait is random within the upper half of the
// bound, so that many clients of one server do not reconnect at the same time. Short sessions do
// not reset it.
type Backoff struct {
	last  time.Duration
	began time.Time // of the first wait
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next(now time.Time) time.Duration {
	if b.began.IsZero() {
		b.began = now
	}
	bound := min(max(quickWait, now.Sub(b.began)/8), maxWait)
	b.last = min(max(2*b.last, 2*minWait), bound)
	return b.last/2 + rand.N(b.last/2+1)
}

// After returns how long to wait after a session or an attempt ended with err; lasted reports that
// the session lasted for Steady. The time that a stopping server asks for replaces the first wait,
// and never shortens a later one, so that a server cannot make a client reconnect at a high rate.
func (b *Backoff) After(err error, lasted bool, now time.Time) time.Duration {
	first := b.began.IsZero()
	wait := b.Next(now)
	var closed *transport.CloseError
	if !errors.As(err, &closed) {
		return wait
	}
	told, ok := closed.ComeBackIn()
	if !ok {
		return wait
	}
	if first {
		wait = minWait
	}
	if lasted { // the attempt that the server asked for does not count
		*b = Backoff{}
	}
	return max(wait, told)
}
