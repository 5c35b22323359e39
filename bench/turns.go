package main

import (
	"tunnel/bench/report"
)

// turns is how often inTurns calls with.
const turns = 3

// inTurns calls without and with in turns, and returns the mean of each.
func inTurns(without, with func() float64) (meanWithout, meanWith float64) {
	var a, b []float64
	for range turns {
		a = append(a, without())
		b = append(b, with())
	}
	a = append(a, without()) // so that a linear drift over time affects both means equally
	return report.Mean(a), report.Mean(b)
}
