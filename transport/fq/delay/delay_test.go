package delay

import (
	"testing"
	"time"
)

// Each delay is in the first bucket whose bound it does not exceed.
func TestNote(t *testing.T) {
	last := len(Histogram{}.Counts) - 1
	for delay, want := range map[time.Duration]int{
		-1: 0, 0: 0, 1: 0, Bound(0): 0, Bound(0) + 1: 1, Bound(1): 1, Bound(1) + 1: 2,
		10 * time.Millisecond: 8, Bound(last - 1): last - 1, Bound(last-1) + 1: last, time.Hour: last,
	} {
		var h Histogram
		h.Note(delay)
		if h.Counts[want] != 1 || h.Sum != max(delay, 0) {
			t.Errorf("%v is counted as %+v, and not in bucket %d", delay, h, want)
		}
	}
}
