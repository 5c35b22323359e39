package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"tunnel/transport"
)

const (
	minDelay   = 500 * time.Millisecond // no pause is shorter, whatever the server says
	quickDelay = 4 * time.Second
	maxDelay   = 15 * time.Second
	steady     = 15 * time.Second // a session that lasted this long makes the next attempt a first one again
)

// backoff is the time between attempts: its bound doubles from twice minDelay to quickDelay, goes
// on to maxDelay when there has been no connection for long (it is then an eighth of that time, so
// that nobody who was cut off for half a minute waits for another quarter), and each wait is drawn
// from the upper half (from 0.5 s at first), so that a thousand clients of one server do not come
// back in step. It grows over sessions, too, until one of them has lasted.
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
	b.last = min(max(2*b.last, 2*minDelay), bound)
	return b.last/2 + rand.N(b.last/2+1)
}

// after returns how long to wait now that a session or an attempt has ended by err; lasted reports
// that the session was a steady one. A server that stops says when to come back. Its word takes the
// place of the first wait, and makes no other shorter: else a server could have a client come back
// as often as it likes.
func (b *backoff) after(err error, lasted bool, now time.Time) time.Duration {
	first := b.began.IsZero()
	wait := b.next(now)
	var closed *transport.CloseError
	if !errors.As(err, &closed) {
		return wait
	}
	told, ok := closed.ComeBackIn()
	if !ok {
		return wait
	}
	if first {
		wait = minDelay
	}
	if lasted { // the attempt that was agreed on does not count
		*b = backoff{}
	}
	return max(wait, told)
}
