package report

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 2, 3}, 2.5},
		{[]float64{nan, 7, math.Inf(1)}, 7},
		{[]float64{5}, 5},
	} {
		if got := Median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(Median(nil)) || !math.IsNaN(Median([]float64{nan})) || !math.IsNaN(Mean(nil)) {
		t.Error("the median or mean of nothing is a number")
	}
	if least, greatest := bounds([]float64{2, nan, 1, 3}); least != 1 || greatest != 3 {
		t.Errorf("bounds %v and %v", least, greatest)
	}
	if got := Mean([]float64{1, nan, 3}); got != 2 {
		t.Errorf("mean %v", got)
	}
}

// A ratio compares values of the same round.
func TestRatio(t *testing.T) {
	t.Parallel()
	if got := ratio([]float64{1, 20, 3}, []float64{2, 40, 60}); got != 0.5 {
		t.Errorf("ratio %v, want 0.5", got)
	}
	if got := ratio([]float64{1, math.NaN(), 3}, []float64{2, 4, 0}); got != 0.5 {
		t.Errorf("ratio %v, want that of the only round which has both", got)
	}
	if !math.IsNaN(ratio(nil, []float64{1})) {
		t.Error("a ratio of nothing")
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{
		0: "0", 1: "1", 0.0541: "0.054", 0.5: "0.5", 1.5: "1.5", 2.345: "2.35", 23.44: "23.4",
		100: "100", 1234.5: "1235",
		math.Inf(1): "–", -0.25: "-0.25",
	} {
		if got := Short(value); got != want {
			t.Errorf("%v is printed as %s, want %s", value, got, want)
		}
	}
	if Short(math.NaN()) != "–" {
		t.Error("NaN is printed")
	}
}
