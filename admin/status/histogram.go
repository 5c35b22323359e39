package status

import "tunnel/transport/fq/delay"

// Histogram counts durations.
type Histogram struct {
	Bounds []float64 `json:"bounds_seconds"` // of the buckets, ascending
	// by bucket: what is no longer than its bound and longer than the one before; the last has what
	// is longer than all bounds
	Counts []uint64 `json:"counts"`
	Sum    float64  `json:"sum_seconds"`
}

// DelaysOf returns the delays of queues as a Histogram.
func DelaysOf(d delay.Histogram) Histogram {
	h := Histogram{Counts: d.Counts[:], Sum: d.Sum.Seconds()}
	for i := range len(d.Counts) - 1 {
		h.Bounds = append(h.Bounds, delay.Bound(i).Seconds())
	}
	return h
}
