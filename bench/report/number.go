package report

import (
	"math"
	"slices"
	"strconv"
)

// Median returns the middle of the values that are numbers, NaN when there are none.
func Median(values []float64) float64 {
	sorted := numbers(values)
	n := len(sorted)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 0:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[n/2]
}

// Mean returns the average of the values that are numbers, NaN when there are none.
func Mean(values []float64) float64 {
	var sum float64
	clean := numbers(values)
	for _, v := range clean {
		sum += v
	}
	return sum / float64(len(clean))
}

// bounds returns the least and the greatest of the values that are numbers.
func bounds(values []float64) (least, greatest float64) {
	sorted := numbers(values)
	if len(sorted) == 0 {
		return math.NaN(), math.NaN()
	}
	return sorted[0], sorted[len(sorted)-1]
}

// ratio returns the median of the rounds' a/b, because one round has the same conditions for both.
func ratio(a, b []float64) float64 {
	var quotients []float64
	for i := range min(len(a), len(b)) {
		quotients = append(quotients, a[i]/b[i])
	}
	return Median(quotients)
}

// numbers returns the values that are numbers, sorted.
func numbers(values []float64) []float64 {
	var clean []float64
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			clean = append(clean, v)
		}
	}
	slices.Sort(clean)
	return clean
}

// Short formats a value with about three digits; NaN and infinities are a dash.
func Short(v float64) string {
	digits := 3
	switch a := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case a >= 100:
		digits = 0
	case a >= 10:
		digits = 1
	case a >= 1:
		digits = 2
	}
	scale := math.Pow10(digits)
	return strconv.FormatFloat(math.Round(v*scale)/scale, 'f', -1, 64)
}
