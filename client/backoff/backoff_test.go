package backoff

import (
	"errors"
	"testing"
	"time"

	"tunnel/transport"
)

// The wait grows from 0.5 s, doubling its bound to 4 s, and then with the time without a connection
// to 15 s; no wait is longer than its bound or shorter than half of it.
func TestBackoff(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 200 {
		var b Backoff
		began := time.Unix(1e9, 0)
		now, bound := began, time.Second
		for i := 0; now.Sub(began) < 5*time.Minute; i++ {
			wait := b.Next(now)
			if wait < bound/2 || wait > bound {
				t.Fatalf("wait %d, after %v, is %v; want %v to %v", i, now.Sub(began), wait,
					bound/2, bound)
			}
			if now.Sub(began) <= 30*time.Second && wait > 4*time.Second {
				t.Fatalf("after an outage of %v another %v of waiting", now.Sub(began), wait)
			}
			if i == 0 {
				seen[wait] = true
			}
			now = now.Add(wait)
			bound = min(2*bound, max(4*time.Second, now.Sub(began)/8), 15*time.Second)
		}
		if b.last != 15*time.Second {
			t.Fatalf("the bound ends at %v", b.last)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d different first waits of 200: clients would come back in step", len(seen))
	}
}

// What a server says about coming back spreads its clients after a session that lasted, and never
// makes them come more often than others do.
func TestBackoffTold(t *testing.T) {
	told := func(after time.Duration) error {
		closed := transport.ComeBack(after)
		closed.Remote = true
		return errors.Join(errors.New("lost"), closed)
	}
	now := time.Unix(1e9, 0)
	var b Backoff
	for range 3 {
		for said, want := range map[time.Duration]time.Duration{0: minWait,
			1734 * time.Millisecond: 1734 * time.Millisecond, time.Minute: time.Minute} {
			if wait := b.After(told(said), true, now); wait != want {
				t.Errorf("told %v after a session that lasted: %v; want %v", said, wait, want)
			}
		}
	}
	if b != (Backoff{}) {
		t.Error("the attempt that was agreed on counts")
	}
	if wait := b.After(told(0), false, now); wait != minWait {
		t.Errorf("the first wait is %v", wait)
	}
	for _, least := range []time.Duration{time.Second, 2 * time.Second, 2 * time.Second} {
		if wait := b.After(told(0), false, now); wait < least {
			t.Errorf("then %v; want %v at least", wait, least)
		}
	}
	if wait := b.After(told(10*time.Second), false, now); wait != 10*time.Second {
		t.Errorf("told 10 s: %v", wait)
	}
	if wait := b.After(errors.New("refused"), false, now); wait < 2*time.Second ||
		wait > 4*time.Second {
		t.Errorf("told nothing: %v", wait)
	}
}
