package ws

import (
	"errors"
	"testing"
	"time"
)

// A peer may send a burst, and continue at the rate; one frame more is a flood, and a second later
// there is room again.
func TestControls(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	c := newControls()
	for i := range controlBurst {
		if err := c.frame(now); err != nil {
			t.Fatalf("frame %d of the burst: %v", i, err)
		}
	}
	if err := c.frame(now); !errors.Is(err, errControlFlood) {
		t.Fatalf("one more than the burst: %v", err)
	}
	for i := range 1000 {
		now = now.Add(time.Second / controlRate)
		if err := c.frame(now); err != nil {
			t.Fatalf("frame %d at the rate: %v", i, err)
		}
	}
	if err := c.frame(now); !errors.Is(err, errControlFlood) {
		t.Fatalf("faster than the rate: %v", err)
	}
	now = now.Add(time.Second)
	for i := range controlRate {
		if err := c.frame(now); err != nil {
			t.Fatalf("frame %d after a second: %v", i, err)
		}
	}
	if err := c.frame(now); !errors.Is(err, errControlFlood) {
		t.Fatalf("a second brings more than the rate: %v", err)
	}
}
