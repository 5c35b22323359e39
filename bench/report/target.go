package report

import (
	"math"
)

// Target is one line of the table that the project has set itself.
type Target struct {
	What      string
	Figure    string
	Contender string
	Over      string  // the contender that it is divided by; empty for the figure itself
	Bound     float64 // in the figure's unit, or a ratio
	AtLeast   bool    // else at most
}

// measured returns what a run says about the target, NaN when it says nothing.
func (t Target) measured(r *Results) float64 {
	if t.Over == "" {
		return Median(r.of(t.Figure, t.Contender))
	}
	return ratio(r.of(t.Figure, t.Contender), r.of(t.Figure, t.Over))
}

// verdict is "yes", "no", or a dash when there is nothing to say.
func (t Target) verdict(value float64) string {
	switch {
	case math.IsNaN(value):
		return "–"
	case t.AtLeast && value >= t.Bound, !t.AtLeast && value <= t.Bound:
		return "yes"
	}
	return "**no**"
}

// want prints what is wanted: "≥ 0.8", "≤ 60 ms". unit is the figure's.
func (t Target) want(unit string) string {
	sign := "≤"
	if t.AtLeast {
		sign = "≥"
	}
	return sign + " " + t.print(t.Bound, unit)
}

// print prints a value with the target's unit.
func (t Target) print(value float64, unit string) string {
	text := Short(value)
	if unit != "" && t.Over == "" && !math.IsNaN(value) {
		text += " " + unit
	}
	return text
}
