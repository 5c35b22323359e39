// Package delay counts how long packets wait.
package delay

import (
	"math/bits"
	"time"
)

// bounded is the number of buckets that have a bound.
const bounded = 15

// Histogram counts delays in buckets.
type Histogram struct {
	// Counts has the delays up to Bound(0), those up to Bound(1) that are longer, and so on; the last
	// has those that are longer than all bounds.
	Counts [bounded + 1]uint64
	Sum    time.Duration
}

// Bound returns the longest delay that Counts[i] counts; i is less than len(Counts)-1. The bounds
// double from 2^16 ns, 65.5 µs, to 2^30 ns, 1.07 s.
func Bound(i int) time.Duration { return 1 << (16 + i) }

// Note counts a delay; one below 0, by the clocks of two processors, as 0.
func (h *Histogram) Note(delay time.Duration) {
	delay = max(delay, 0)
	h.Counts[min(bits.Len64(uint64(max(delay, 1)-1)>>16), bounded)]++
	h.Sum += delay
}

// Add adds more to h.
func (h *Histogram) Add(more Histogram) {
	for i, n := range more.Counts {
		h.Counts[i] += n
	}
	h.Sum += more.Sum
}
