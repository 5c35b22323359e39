package report

import (
	"math"
)

// Results has the values of a run.
type Results struct {
	rounds int
	// by figure and contender, one a round; NaN for what failed
	samples map[string]map[string][]float64
	Version map[string]string // of each contender that could run
	Absent  []Reason          // contenders that could not run
	Failed  []Reason          // measurements that failed
}

// Reason says why something is missing.
type Reason struct{ What, Why string }

// NewResults returns empty results for a number of rounds.
func NewResults(rounds int) *Results {
	return &Results{rounds: rounds, samples: map[string]map[string][]float64{},
		Version: map[string]string{}}
}

// Add records a value of a round, counted from 0.
func (r *Results) Add(round int, figure, contender string, value float64) {
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

// of returns the values of a figure and a contender, one a round; nil if there are none.
func (r *Results) of(figure, contender string) []float64 { return r.samples[figure][contender] }
