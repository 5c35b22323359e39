package main

import "math"

// target is one line of the table that the project has set itself.
type target struct {
	what      string
	figure    string
	contender string
	over      string  // the contender that it is divided by; empty for the figure itself
	bound     float64 // in the figure's unit, or a ratio
	atLeast   bool    // else at most
}

// measured returns what a run says about the target, NaN when it says nothing.
func (t target) measured(r *results) float64 {
	if t.over == "" {
		return median(r.of(t.figure, t.contender))
	}
	return ratio(r.of(t.figure, t.contender), r.of(t.figure, t.over))
}

// verdict is "yes", "no", or a dash when there is nothing to say.
func (t target) verdict(value float64) string {
	switch {
	case math.IsNaN(value):
		return "–"
	case t.atLeast && value >= t.bound, !t.atLeast && value <= t.bound:
		return "yes"
	}
	return "**no**"
}

// want prints what is wanted: "≥ 0.8", "≤ 60 ms". unit is the figure's.
func (t target) want(unit string) string {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	return sign + " " + t.print(t.bound, unit)
}

// print prints a value with the target's unit.
func (t target) print(value float64, unit string) string {
	text := short(value)
	if unit != "" && t.over == "" && !math.IsNaN(value) {
		text += " " + unit
	}
	return text
}
