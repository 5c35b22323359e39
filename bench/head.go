package main

import (
	"fmt"
	"strings"
	"time"
)

// report shows what was measured: it writes RESULTS.md and the plots.
func (b *bench) report() error {
	r := report{
		figures: figures(), targets: targets(), limit: nameLimit, series: seriesName, head: b.head(),
		results: b.results, out: b.out, say: b.say,
	}
	for _, g := range groups() {
		if b.measures(g.name) {
			r.groups = append(r.groups, g)
		}
	}
	for _, c := range contenders(b.other, b.wsvpn) {
		r.rows = append(r.rows, row{c.name(), label(c.name())})
	}
	return r.write()
}

// head returns the first lines of RESULTS.md: what was run where.
func (b *bench) head() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Benchmarks\n\nMade by `go run ./bench`; absolute figures depend on the machine, ratios hardly do. "+
		"Everything runs in turns, %d times (-rounds): figures are medians, with the least and the greatest in parentheses, and a ratio is the median of the rounds' ratios. "+
		"The hosts are network namespaces of one machine, with cubic as their congestion control.\n\n", b.rounds)
	for _, line := range machine() {
		fmt.Fprintf(&w, "- %s\n", line)
	}
	fmt.Fprintf(&w, "- %s, %d s a measurement on the LAN, %d s on the WAN, %d idle clients\n",
		b.began.UTC().Format(time.DateOnly), b.seconds, b.wanSeconds, b.clients)
	if b.only != "" {
		fmt.Fprintf(&w, "- this run measured a part only: `-only %s`\n", b.only)
	}
	for _, c := range contenders(b.other, b.wsvpn) {
		if v := b.results.version[c.name()]; v != "" {
			fmt.Fprintf(&w, "- %s: %s\n", label(c.name()), v)
		}
	}
	for _, a := range b.results.absent {
		fmt.Fprintf(&w, "- %s: could not run, see below\n", a.what)
	}
	return w.String()
}
