package report

import (
	"math"
	"strings"
	"testing"
)

func TestChart(t *testing.T) {
	t.Parallel()
	var s strings.Builder
	err := chart{
		title: "a < b & c", unit: "ms", series: []string{"up", "down"}, better: "less is better",
		marks: []float64{200},
		rows: []bars{
			{"first", []bar{{100, 90, 110}, {50, 50, 50}}},
			{"second", []bar{{math.NaN(), math.NaN(), math.NaN()}, {1, 1, 1}}},
		},
	}.Write(&s)
	if err != nil {
		t.Fatal(err)
	}
	svg := s.String()
	// The greatest value is the mark, at 200: 540 pixels by 210.
	for _, want := range []string{"a &lt; b &amp; c", `width="257.1"`, `width="128.6"`,
		"not measured", "dashed: target", ">100<", `x1="654.3"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	if n := strings.Count(svg, `stroke="#222222"`); n != 1 {
		t.Errorf("%d ranges are drawn, want one: the others have but one value", n)
	}
	s.Reset()
	if err := (chart{series: []string{"nothing"}}).Write(&s); err != nil ||
		strings.Contains(s.String(), "NaN") {
		t.Errorf("an empty chart: %v\n%s", err, s.String())
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	least, most := Target{Bound: 2, AtLeast: true}, Target{Bound: 2}
	for value, want := range map[float64][2]string{1: {"**no**", "yes"}, 2: {"yes", "yes"},
		3: {"yes", "**no**"}, math.Inf(1): {"yes", "**no**"}} {
		if got := [2]string{least.verdict(value), most.verdict(value)}; got != want {
			t.Errorf("%v: %v, want %v", value, got, want)
		}
	}
	if least.verdict(math.NaN()) != "–" {
		t.Error("nothing measured has a verdict")
	}
}
