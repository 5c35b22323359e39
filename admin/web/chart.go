package web

import (
	"fmt"
	"strings"
	"time"

	"tunnel/admin/units"
)

// The view box of a chart.
const (
	chartWidth  = 600
	chartHeight = 80

	leastHistory = time.Minute // the least time that has the width of a chart
)

// chart is the throughput while somebody looked.
type chart struct {
	Width, Height int
	In, Out       string // lines; "" before there are two samples
	Area          string // below In
	Peak          string // of both
}

func chartOf(history []moment) chart {
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
	last := history[len(history)-1].at
	whole := max(last.Sub(history[0].at), leastHistory)
	x := func(at time.Time) float64 {
		return chartWidth * (1 - float64(last.Sub(at))/float64(whole))
	}
	line := func(of func(flow) float64) string {
		var text strings.Builder
		for _, m := range history {
			_, _ = fmt.Fprintf(&text, "%.1f,%.1f ", x(m.at),
				chartHeight-2-(chartHeight-6)*of(m.flow)/max(peak, 1))
		}
		return strings.TrimSpace(text.String())
	}
	c.In = line(func(f flow) float64 { return f.In })
	c.Out = line(func(f flow) float64 { return f.Out })
	c.Area = fmt.Sprintf("%.1f,%d %s %d,%d", x(history[0].at), chartHeight, c.In, chartWidth,
		chartHeight)
	return c
}
