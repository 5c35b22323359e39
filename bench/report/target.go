package report

import (
	"math"
)

// Target is a target of the project for a figure, or for a ratio of two contenders' figures.
type Target struct {
	What      string
	Figure    string
	Contender string
	Over      string  // the contender to divide by; empty for the figure itself
	Bound     float64 // in the figure's unit, or a ratio
	AtLeast   bool    // else at most
}

// measured returns the measured value, NaN if there is none.
func (t Target) measured(r *Results) float64 {
	if t.Over == "" {
		return Median(r.of(t.Figure, t.Contender))
	}
	return ratio(r.of(t.Figure, t.Contender), r.of(t.Figure, t.Over))
}

// verdict returns "yes", "**no**", or a dash for NaN.
func (t Target) verdict(value float64) string {
	switch {
	case math.IsNaN(value):
		return "–"
	case t.AtLeast && value >= t.Bound, !t.AtLeast && value <= t.Bound:
		return "yes"
	}
	return "**no**"
}

// want formats the bound, for example "≥ 0.8" or "≤ 60 ms". unit is the figure's.
func (t Target) want(unit string) string {
	sign := "≤"
	if t.AtLeast {
		sign = "≥"
	}
	return sign + " " + t.print(t.Bound, unit)
}

// print formats a value with the target's unit.
func (t Target) print(value float64, unit string) string {
	text := Short(value)
	if unit != "" && t.Over == "" && !math.IsNaN(value) {
		text += " " + unit
	}
	return text
}
