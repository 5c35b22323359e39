// Package report keeps measured values, and writes a page with tables and plots of them.
package report

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Report is the results of a run, and how to present them.
type Report struct {
	Figures []Figure
	Groups  []Group                    // that were measured, in the order of the page
	Targets []Target                   // in the order of the page
	Rows    []Row                      // contenders, in the order of tables and plots
	Limit   string                     // the name of the row that the others are divided by
	Series  func(figure string) string // a figure's name in a legend; "" for its title
	Head    string                     // of the page, in Markdown
	Results *Results
	Out     string // directory of the page and the plots
	Say     func(format string, args ...any)
}

// Row is a contender's name, and its label in tables and plots.
type Row struct{ Name, Label string }

// figure returns the figure with an id.
func (r *Report) figure(id string) Figure {
	for _, f := range r.Figures {
		if f.ID == id {
			return f
		}
	}
	return Figure{ID: id, Title: id}
}

// Write prints the targets, and writes RESULTS.md and the plots.
func (r *Report) Write() error {
	r.Say("targets:")
	for _, t := range r.Targets {
		if v, unit := t.measured(r.Results), r.figure(t.Figure).Unit; !math.IsNaN(v) {
			r.Say("%-7s %-12s of %-12s %s", strings.Trim(t.verdict(v), "*"), t.print(v, unit),
				t.want(unit), t.What)
		}
	}
	var page bytes.Buffer
	page.WriteString(r.Head)
	r.targetTable(&page)
	for _, g := range r.Groups {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", g.Title, Wrap(g.Explain))
		r.table(&page, g)
		for _, p := range g.Plots {
			if err := r.plot(p); err != nil {
				return err
			}
			fmt.Fprintf(&page, "\n![%s](%s.svg)\n", p.Title, p.File)
		}
	}
	r.reasons(&page, "What could not run", r.Results.Absent)
	r.reasons(&page, "What failed", r.Results.Failed)
	path := filepath.Join(r.Out, "RESULTS.md")
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return err
	}
	r.Say("wrote %s and the plots", path)
	return nil
}

// targetTable writes the table of targets.
func (r *Report) targetTable(w io.Writer) {
	fmt.Fprint(w, "\n## Targets\n\n| figure | target | measured | met |\n|---|---|---|---|\n")
	for _, t := range r.Targets {
		v, unit := t.measured(r.Results), r.figure(t.Figure).Unit
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.What, t.want(unit), t.print(v, unit),
			t.verdict(v))
	}
}

// table writes the table of a group.
func (r *Report) table(w io.Writer, g Group) {
	ids := g.ids()
	limited := r.has(r.Limit, ids)
	columns := len(ids)
	fmt.Fprint(w, "\n| ")
	for _, id := range ids {
		f := r.figure(id)
		fmt.Fprintf(w, "| %s ", f.Title)
		if f.Unit != "" {
			fmt.Fprintf(w, "(%s) ", f.Unit)
		}
		if limited {
			columns++
			fmt.Fprint(w, "| ÷ limit ")
		}
	}
	fmt.Fprintf(w, "|\n|---|%s\n", strings.Repeat("--:|", columns))
	for _, c := range r.Rows {
		if !r.has(c.Name, ids) {
			continue
		}
		fmt.Fprintf(w, "| %s ", c.Label)
		for _, id := range ids {
			samples := r.Results.of(id, c.Name)
			fmt.Fprintf(w, "| %s ", withBounds(samples))
			if limited {
				fmt.Fprintf(w, "| %s ", Short(ratio(samples, r.Results.of(id, r.Limit))))
			}
		}
		fmt.Fprint(w, "|\n")
	}
}

// has reports whether a contender has values of any of the figures.
func (r *Report) has(contender string, ids []string) bool {
	return slices.ContainsFunc(ids,
		func(id string) bool { return r.Results.of(id, contender) != nil })
}

// withBounds formats a median with the range of its rounds.
func withBounds(samples []float64) string {
	least, greatest := bounds(samples)
	if least == greatest || math.IsNaN(least) {
		return Short(Median(samples))
	}
	return fmt.Sprintf("%s (%s – %s)", Short(Median(samples)), Short(least), Short(greatest))
}

// plot writes a plot's file.
func (r *Report) plot(p Plot) error {
	first := r.figure(p.IDs[0])
	c := chart{title: p.Title, unit: first.Unit, better: "less is better"}
	if first.Higher {
		c.better = "more is better"
	}
	for _, id := range p.IDs {
		name := r.Series(id)
		if name == "" {
			name = r.figure(id).Title
		}
		c.series = append(c.series, name)
		c.marks = r.marks(id)
	}
	for _, k := range r.Rows {
		if !r.has(k.Name, p.IDs) {
			continue
		}
		line := bars{name: k.Label}
		for _, id := range p.IDs {
			samples := r.Results.of(id, k.Name)
			least, greatest := bounds(samples)
			line.bars = append(line.bars, bar{Median(samples), least, greatest})
		}
		c.rows = append(c.rows, line)
	}
	var svg bytes.Buffer
	if err := c.Write(&svg); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.Out, p.File+".svg"), svg.Bytes(), 0o644)
}

// marks returns the targets of a figure, without ratios, for its plot.
func (r *Report) marks(figure string) []float64 {
	var list []float64
	for _, t := range r.Targets {
		if t.Figure == figure && t.Over == "" && (len(list) == 0 || list[0] != t.Bound) {
			list = append(list, t.Bound)
		}
	}
	return list
}

// maxReason bounds a reason in the report, in bytes.
const maxReason = 300

// reasons writes a list of what is missing and why.
func (r *Report) reasons(w io.Writer, title string, list []Reason) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", title)
	for _, x := range list {
		why := strings.Join(strings.Fields(x.Why), " ")
		if len(why) > maxReason {
			why = why[:maxReason] + " …"
		}
		fmt.Fprintf(w, "- %s: %s\n", x.What, why)
	}
}
