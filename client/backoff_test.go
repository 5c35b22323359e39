package client

import (
	"testing"
	"time"
)

// The wait grows from 0.25 s to 15 s, doubling its bound; no wait is longer than its bound or shorter than half of it.
func TestBackoff(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 200 {
		var b backoff
		bound := 500 * time.Millisecond
		for i := range 12 {
			wait := b.next()
			if wait < bound/2 || wait > bound {
				t.Fatalf("wait %d is %v; want %v to %v", i, wait, bound/2, bound)
			}
			if i == 0 {
				seen[wait] = true
			}
			bound = min(2*bound, 15*time.Second)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d different first waits of 200: clients would come back in step", len(seen))
	}
}
