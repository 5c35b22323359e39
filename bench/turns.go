package main

import (
	"tunnel/bench/report"
)

// turns is how often inTurns calls each of with.
const turns = 3

// inTurns calls without and each of with in turns, and returns the mean of each.
func inTurns(without func() float64, with ...func() float64) (meanWithout float64,
	meansWith []float64) {
	var base []float64
	values := make([][]float64, len(with))
	for range turns {
		base = append(base, without())
		for i, f := range with {
			values[i] = append(values[i], f())
		}
	}
	base = append(base, without()) // so that a linear drift over time affects all means equally
	for _, v := range values {
		meansWith = append(meansWith, report.Mean(v))
	}
	return report.Mean(base), meansWith
}
