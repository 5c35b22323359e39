package web

import (
	"fmt"
	"strings"

	"tunnel/admin/units"
)

// The view box of a chart.
const (
	chartWidth  = 600
	chartHeight = 80

	leastHistory = 30 // samples that have room in the width of a chart
)

// chart is the throughput over the samples that were taken while somebody looked.
type chart struct {
	Width, Height int
	In, Out       string // lines; "" before there are two samples
	Area          string // below In
	Peak          string // of both
}

func chartOf(history []flow) chart {
	c := chart{Width: chartWidth, Height: chartHeight}
	if len(history) < 2 {
		return c
	}
	peak := 0.0
	for _, f := range history {
		peak = max(peak, f.In, f.Out)
	}
	c.Peak = units.Bits(peak)
	// The newest is on the right; a row that is still short begins later.
	first := chartWidth * (1 - float64(len(history))/float64(max(len(history), leastHistory)))
	line := func(of func(flow) float64) string {
		var text strings.Builder
		for i, f := range history {
			x := first + (chartWidth-first)*float64(i)/float64(len(history)-1)
			_, _ = fmt.Fprintf(&text, "%.1f,%.1f ", x, chartHeight-2-(chartHeight-6)*of(f)/max(peak, 1))
		}
		return strings.TrimSpace(text.String())
	}
	c.In = line(func(f flow) float64 { return f.In })
	c.Out = line(func(f flow) float64 { return f.Out })
	c.Area = fmt.Sprintf("%.1f,%d %s %d,%d", first, chartHeight, c.In, chartWidth, chartHeight)
	return c
}
