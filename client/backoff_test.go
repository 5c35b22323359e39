package client

import (
	"testing"
	"time"
)

// The wait grows from 0.25 s, doubling its bound to 4 s, and then with the time without a connection to 15 s; no wait is
// longer than its bound or shorter than half of it.
func TestBackoff(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 200 {
		var b backoff
		began := time.Unix(1e9, 0)
		now, bound := began, 500*time.Millisecond
		for i := 0; now.Sub(began) < 5*time.Minute; i++ {
			wait := b.next(now)
			if wait < bound/2 || wait > bound {
				t.Fatalf("wait %d, after %v, is %v; want %v to %v", i, now.Sub(began), wait, bound/2, bound)
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
