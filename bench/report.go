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
	"time"
)

// report prints the targets, and writes RESULTS.md and the plots.
func (b *bench) report() error {
	b.say("targets:")
	for _, t := range targets() {
		if v := t.measured(b.results); !math.IsNaN(v) {
			b.say("%-7s %-12s of %-12s %s", strings.Trim(t.verdict(v), "*"), t.print(v), t.want(), t.what)
		}
	}
	var page bytes.Buffer
	b.head(&page)
	b.targetTable(&page)
	for _, g := range groups() {
		if !b.measures(g.name) {
			continue
		}
		fmt.Fprintf(&page, "\n## %s\n\n%s\n", g.title, g.explain)
		b.table(&page, g)
		for _, p := range g.plots {
			if err := b.plot(p); err != nil {
				return err
			}
			fmt.Fprintf(&page, "\n![%s](%s.svg)\n", p.title, p.file)
		}
	}
	b.reasons(&page, "What could not run", b.results.absent)
	b.reasons(&page, "What failed", b.results.failed)
	path := filepath.Join(b.out, "RESULTS.md")
	if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
		return err
	}
	b.say("wrote %s and the plots", path)
	return nil
}

// head says what was run where.
func (b *bench) head(w io.Writer) {
	fmt.Fprintf(w, "# Benchmarks\n\nMade by `go run ./bench`; absolute figures depend on the machine, ratios hardly do. "+
		"Everything runs in turns, %d times (-rounds): figures are medians, with the least and the greatest in parentheses, and a ratio is the median of the rounds' ratios. "+
		"The hosts are network namespaces of one machine, with cubic as their congestion control.\n\n", b.rounds)
	for _, line := range machine() {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "- %s, %d s a measurement on the LAN, %d s on the WAN, %d idle clients\n",
		b.began.UTC().Format(time.DateOnly), b.seconds, b.wanSeconds, b.clients)
	if b.only != "" {
		fmt.Fprintf(w, "- this run measured a part only: `-only %s`\n", b.only)
	}
	for _, c := range contenders(b.options) {
		if v := b.results.version[c.name()]; v != "" {
			fmt.Fprintf(w, "- %s: %s\n", label(c.name()), v)
		}
	}
	for _, a := range b.results.absent {
		fmt.Fprintf(w, "- %s: could not run, see below\n", a.what)
	}
}

// targetTable compares with what the project wants.
func (b *bench) targetTable(w io.Writer) {
	fmt.Fprint(w, "\n## Targets\n\n| figure | target | measured | met |\n|---|---|---|---|\n")
	for _, t := range targets() {
		v := t.measured(b.results)
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", t.what, t.want(), t.print(v), t.verdict(v))
	}
}

// table shows all contenders in the figures of a group.
func (b *bench) table(w io.Writer, g group) {
	ids := g.ids()
	limited := b.has(nameLimit, ids)
	columns := len(ids)
	fmt.Fprint(w, "\n| ")
	for _, id := range ids {
		f := figureOf(id)
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
	for _, c := range contenders(b.options) {
		if !b.has(c.name(), ids) {
			continue
		}
		fmt.Fprintf(w, "| %s ", label(c.name()))
		for _, id := range ids {
			samples := b.results.of(id, c.name())
			fmt.Fprintf(w, "| %s ", withBounds(samples))
			if limited {
				fmt.Fprintf(w, "| %s ", short(ratio(samples, b.results.of(id, nameLimit))))
			}
		}
		fmt.Fprint(w, "|\n")
	}
}

// has tells whether there is anything about a contender in the figures.
func (b *bench) has(contender string, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool { return b.results.of(id, contender) != nil })
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
func (b *bench) plot(p plot) error {
	first := figureOf(p.ids[0])
	c := chart{title: p.title, unit: first.unit, better: "less is better"}
	if first.higher {
		c.better = "more is better"
	}
	for _, id := range p.ids {
		c.series = append(c.series, seriesName(id))
		c.marks = marks(id)
	}
	for _, k := range contenders(b.options) {
		if !b.has(k.name(), p.ids) {
			continue
		}
		r := row{name: label(k.name())}
		for _, id := range p.ids {
			samples := b.results.of(id, k.name())
			least, greatest := bounds(samples)
			r.bars = append(r.bars, bar{median(samples), least, greatest})
		}
		c.rows = append(c.rows, r)
	}
	var svg bytes.Buffer
	if err := c.write(&svg); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, p.file+".svg"), svg.Bytes(), 0o644)
}

// seriesName is what a plot's legend calls a figure.
func seriesName(id string) string {
	switch {
	case strings.HasSuffix(id, "-"+figUpFour):
		return "four streams, client to server"
	case strings.HasSuffix(id, "-"+figDownFour):
		return "four streams, server to client"
	case id == figUp, strings.HasSuffix(id, "-"+figUp):
		return "client to server"
	case id == figDown, strings.HasSuffix(id, "-"+figDown):
		return "server to client"
	case id == figRTTMean:
		return "mean"
	case id == figRTT:
		return "median"
	}
	return figureOf(id).title
}

// maxReason is the most bytes of a reason in the report: a program's whole output may be one.
const maxReason = 300

// reasons lists what is missing and why.
func (b *bench) reasons(w io.Writer, title string, list []reason) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", title)
	for _, r := range list {
		why := strings.Join(strings.Fields(r.why), " ")
		if len(why) > maxReason {
			why = why[:maxReason] + " …"
		}
		fmt.Fprintf(w, "- %s: %s\n", r.what, why)
	}
}
