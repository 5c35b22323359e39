package main

import "math"

// results keeps what was measured.
type results struct {
	rounds  int
	samples map[string]map[string][]float64 // by figure and contender, one a round; NaN for what failed
	version map[string]string               // of each contender that could run
	absent  []reason                        // contenders that could not run
	failed  []reason                        // measurements that failed
}

// reason says why something is missing.
type reason struct{ what, why string }

func newResults(rounds int) *results {
	return &results{rounds: rounds, samples: map[string]map[string][]float64{}, version: map[string]string{}}
}

// add notes what a round, counted from 0, has measured.
func (r *results) add(round int, figure, contender string, value float64) {
	if r.samples[figure] == nil {
		r.samples[figure] = map[string][]float64{}
	}
	list := r.samples[figure][contender]
	if list == nil {
		list = make([]float64, r.rounds)
		for i := range list {
			list[i] = math.NaN()
		}
		r.samples[figure][contender] = list
	}
	list[round] = value
}

// of returns the samples of a figure and a contender, one a round.
func (r *results) of(figure, contender string) []float64 { return r.samples[figure][contender] }
