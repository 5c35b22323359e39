// Package backoff says how long a client waits before it tries again.
package backoff

import (
	"errors"
	"math/rand/v2"
	"time"

	"tunnel/transport"
)

const (
	minWait   = 500 * time.Millisecond // no pause is shorter, whatever the server says
	quickWait = 4 * time.Second
	maxWait   = 15 * time.Second
	// Steady is how long a session lasts that makes the next attempt a first one again.
	Steady = 15 * time.Second
)

// Backoff is the time between attempts: its bound doubles from twice minWait to quickWait, goes
// on to maxWait when there has been no connection for long (it is then an eighth of that time, so
// that nobody who was cut off for half a minute waits for another quarter), and each wait is drawn
// from the upper half (from 0.5 s at first), so that a thousand clients of one server do not come
// back in step. It grows over sessions, too, until one of them has lasted.
type Backoff struct {
	last  time.Duration
	began time.Time // of the first wait
}

// Next returns how long to wait now.
func (b *Backoff) Next(now time.Time) time.Duration {
	if b.began.IsZero() {
		b.began = now
	}
	bound := min(max(quickWait, now.Sub(b.began)/8), maxWait)
	b.last = min(max(2*b.last, 2*minWait), bound)
	return b.last/2 + rand.N(b.last/2+1)
}

// After returns how long to wait now that a session or an attempt has ended by err; lasted reports
// that the session was a steady one. A server that stops says when to come back. Its word takes the
// place of the first wait, and makes no other shorter: else a server could have a client come back
// as often as it likes.
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
	if lasted { // the attempt that was agreed on does not count
		*b = Backoff{}
	}
	return max(wait, told)
}
