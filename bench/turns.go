package main

import (
	"tunnel/bench/report"
)

// turns is how often a measurement is repeated that is compared with one without what it is about.
const turns = 3

// inTurns returns the means of what two ways of measuring give, without something and with it,
// which take turns.
func inTurns(without, with func() float64) (meanWithout, meanWith float64) {
	var a, b []float64
	for range turns {
		a = append(a, without())
		b = append(b, with())
	}
	a = append(a, without()) // so that what grows or falls with time is the same in both
	return report.Mean(a), report.Mean(b)
}
