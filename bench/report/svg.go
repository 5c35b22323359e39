package report

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// chart is a plot of horizontal bars: a row for each contender, a bar for each series.
type chart struct {
	title  string
	unit   string
	series []string  // names of the bars of a row
	rows   []bars    // from top to bottom
	marks  []float64 // dashed lines at these values: targets
	better string    // "more is better" or "less is better"
}

// bars is the row of a contender.
type bars struct {
	name string
	bars []bar // one a series
}

// bar is the median of a row and series, and the range of its rounds; a NaN is not drawn.
type bar struct{ median, least, greatest float64 }

// Sizes in a chart, in pixels.
const (
	chartWidth  = 760
	labelWidth  = 140
	valueWidth  = 80
	barHeight   = 14
	rowGap      = 8
	headHeight  = 52
	footHeight  = 14
	plotWidth   = chartWidth - labelWidth - valueWidth
	markPadding = 1.05 // room to the right of the greatest value
)

// Write draws the chart as SVG.
func (c chart) Write(w io.Writer) error {
	rowHeight := barHeight*max(1, len(c.series)) + rowGap
	height := headHeight + rowHeight*len(c.rows) + footHeight
	scale := plotWidth / c.most()
	var s strings.Builder
	fmt.Fprintf(&s,
		`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `+
			`font-family="sans-serif" font-size="12" role="img">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&s, "<title>%s</title>\n", html.EscapeString(c.title))
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	fmt.Fprintf(&s,
		`<text x="12" y="20" font-size="14" font-weight="bold" fill="#222222">%s</text>`+"\n",
		html.EscapeString(c.title))
	c.legend(&s)
	for _, m := range c.marks {
		x := labelWidth + m*scale
		fmt.Fprintf(&s,
			`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#c0392b" stroke-dasharray="4 3"/>`+"\n",
			x, headHeight-4, x, height-footHeight)
	}
	for i, r := range c.rows {
		y := headHeight + i*rowHeight
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end" fill="#222222">%s</text>`+"\n",
			labelWidth-8, y+(rowHeight-rowGap)/2+4, html.EscapeString(r.name))
		for j, b := range r.bars {
			b.Write(&s, y+j*barHeight, scale, colour(j))
		}
	}
	s.WriteString("</svg>\n")
	_, err := io.WriteString(w, s.String())
	return err
}

// legend names the unit, the series and the dashed lines, in one line under the title.
func (c chart) legend(s *strings.Builder) {
	parts := []string{strings.TrimSpace(c.unit + ", " + c.better)}
	if c.unit == "" {
		parts[0] = c.better
	}
	if len(c.marks) > 0 {
		parts = append(parts, "dashed: target")
	}
	fmt.Fprintf(s, `<text x="12" y="38" fill="#666666">%s</text>`+"\n",
		html.EscapeString(strings.Join(parts, "; ")))
	if len(c.series) < 2 {
		return
	}
	for i, name := range c.series {
		x := labelWidth + plotWidth/2 + i*150
		fmt.Fprintf(s,
			`<rect x="%d" y="29" width="10" height="10" fill="%s"/>`+
				`<text x="%d" y="38" fill="#666666">%s</text>`+"\n",
			x, colour(i), x+14, html.EscapeString(name))
	}
}

// Write draws one bar, its range and its value.
func (b bar) Write(s *strings.Builder, y int, scale float64, fill string) {
	middle := y + barHeight/2
	if math.IsNaN(b.median) {
		fmt.Fprintf(s, `<text x="%d" y="%d" fill="#999999">not measured</text>`+"\n", labelWidth+4,
			middle+4)
		return
	}
	fmt.Fprintf(s, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", labelWidth, y+1,
		b.median*scale, barHeight-2, fill)
	if b.greatest > b.least {
		fmt.Fprintf(s, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#222222"/>`+"\n",
			labelWidth+b.least*scale, middle, labelWidth+b.greatest*scale, middle)
	}
	fmt.Fprintf(s, `<text x="%.1f" y="%d" fill="#222222">%s</text>`+"\n",
		labelWidth+max(b.median, b.greatest)*scale+6, middle+4, Short(b.median))
}

// most returns the greatest value on the chart's scale.
func (c chart) most() float64 {
	most := 0.0
	for _, r := range c.rows {
		for _, b := range r.bars {
			for _, v := range []float64{b.median, b.greatest} {
				if v > most { // false for NaN
					most = v
				}
			}
		}
	}
	for _, m := range c.marks {
		most = max(most, m)
	}
	if most == 0 {
		return 1
	}
	return most * markPadding
}

// colour returns the fill of a series; the two differ in brightness, too.
func colour(i int) string { return []string{"#2c6fad", "#8fc1e8"}[i%2] }
