package main

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

// report is what a run has measured, and how to show it.
type report struct {
	figures []figure
	groups  []group                    // that were measured, in the order of the page
	targets []target                   // in the order of the page
	rows    []row                      // what was measured, in the order of tables and plots
	limit   string                     // the name of the row that the others are divided by
	series  func(figure string) string // what a plot's legend calls a figure; "" is its title
	head    string                     // of the page, in Markdown
	results *results
	out     string // directory of the page and the plots
	say     func(format string, args ...any)
}

// row is what tables and plots call one contender.
type row struct{ name, label string }

// figure returns the figure with an id.
func (r *report) figure(id string) figure {
	for _, f := range r.figures {
		if f.id == id {
			return f
		}
	}
	return figure{id: id, title: id}
}

// write prints the targets, and writes RESULTS.md and the plots.
func (r *report) write() error {
	r.say("targets:")
	for _, t := range r.targets {
		if v, unit := t.measured(r.results), r.figure(t.figure).unit; !math.IsNaN(v) {
			r.say("%-7s %-12s of %-12s %s", strings.Trim(t.verdict(v), "*"), t.print(v, unit), t.want(unit), t.what)
		}
	}
	var page bytes.Buffer
	page.WriteString(r.head)
	r.targetTable(&page)
	for _, g := range r.groups {
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", g.title, g.explain)
		r.table(&page, g)
		for _, p := range g.plots {
			if err := r.plot(p); err != nil {
				return err
			}
			fmt.Fprintf(&page, "\n![%s](%s.svg)\n", p.title, p.file)
		}
	}
	r.reasons(&page, "What could not run", r.results.absent)
	r.reasons(&page, "What failed", r.results.failed)
	path := filepath.Join(r.out, "RESULTS.md")
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return err
	}
	r.say("wrote %s and the plots", path)
	return nil
}

// targetTable compares with what the project wants.
func (r *report) targetTable(w io.Writer) {
	fmt.Fprint(w, "\n## Targets\n\n| figure | target | measured | met |\n|---|---|---|---|\n")
	for _, t := range r.targets {
		v, unit := t.measured(r.results), r.figure(t.figure).unit
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.what, t.want(unit), t.print(v, unit), t.verdict(v))
	}
}

// table shows all contenders in the figures of a group.
func (r *report) table(w io.Writer, g group) {
	ids := g.ids()
	limited := r.has(r.limit, ids)
	columns := len(ids)
	fmt.Fprint(w, "\n| ")
	for _, id := range ids {
		f := r.figure(id)
		fmt.Fprintf(w, "| %s ", f.title)
		if f.unit != "" {
			fmt.Fprintf(w, "(%s) ", f.unit)
		}
		if limited {
			columns++
			fmt.Fprint(w, "| ÷ limit ")
		}
	}
	fmt.Fprintf(w, "|\n|---|%s\n", strings.Repeat("--:|", columns))
	for _, c := range r.rows {
		if !r.has(c.name, ids) {
			continue
		}
		fmt.Fprintf(w, "| %s ", c.label)
		for _, id := range ids {
			samples := r.results.of(id, c.name)
			fmt.Fprintf(w, "| %s ", withBounds(samples))
			if limited {
				fmt.Fprintf(w, "| %s ", short(ratio(samples, r.results.of(id, r.limit))))
			}
		}
		fmt.Fprint(w, "|\n")
	}
}

// has reports whether there is anything about a contender in the figures.
func (r *report) has(contender string, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return r.results.of(id, contender) != nil })
}

// withBounds prints a median with the range of its rounds.
func withBounds(samples []float64) string {
	least, greatest := bounds(samples)
	if least == greatest || math.IsNaN(least) {
		return short(median(samples))
	}
	return fmt.Sprintf("%s (%s – %s)", short(median(samples)), short(least), short(greatest))
}

// plot draws a chart into its file.
func (r *report) plot(p plot) error {
	first := r.figure(p.ids[0])
	c := chart{title: p.title, unit: first.unit, better: "less is better"}
	if first.higher {
		c.better = "more is better"
	}
	for _, id := range p.ids {
		name := r.series(id)
		if name == "" {
			name = r.figure(id).title
		}
		c.series = append(c.series, name)
		c.marks = r.marks(id)
	}
	for _, k := range r.rows {
		if !r.has(k.name, p.ids) {
			continue
		}
		line := bars{name: k.label}
		for _, id := range p.ids {
			samples := r.results.of(id, k.name)
			least, greatest := bounds(samples)
			line.bars = append(line.bars, bar{median(samples), least, greatest})
		}
		c.rows = append(c.rows, line)
	}
	var svg bytes.Buffer
	if err := c.write(&svg); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, p.file+".svg"), svg.Bytes(), 0o644)
}

// marks returns the absolute bounds of a figure, for its plot.
func (r *report) marks(figure string) []float64 {
	var list []float64
	for _, t := range r.targets {
		if t.figure == figure && t.over == "" && (len(list) == 0 || list[0] != t.bound) {
			list = append(list, t.bound)
		}
	}
	return list
}

// maxReason is the most bytes of a reason in the report: a failure may say much.
const maxReason = 300

// reasons lists what is missing and why.
func (r *report) reasons(w io.Writer, title string, list []reason) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", title)
	for _, x := range list {
		why := strings.Join(strings.Fields(x.why), " ")
		if len(why) > maxReason {
			why = why[:maxReason] + " …"
		}
		fmt.Fprintf(w, "- %s: %s\n", x.what, why)
	}
}
