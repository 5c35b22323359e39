package main

import (
	"fmt"
	"strings"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
)

// report writes RESULTS.md and the plots.
func (b *bench) report() error {
	r := report.Report{
		Figures: figures(), Targets: targets(), Limit: contender.NameLimit, Series: seriesName,
		Head:    b.head(),
		Results: b.results, Out: b.out, Say: b.say,
	}
	for _, g := range groups() {
		if b.measures(g.Name) {
			r.Groups = append(r.Groups, g)
		}
	}
	for _, c := range contender.Contenders(b.other, b.wsvpn) {
		r.Rows = append(r.Rows, report.Row{Name: c.Name(), Label: contender.Label(c.Name())})
	}
	return r.Write()
}

// head returns the beginning of RESULTS.md: what was measured, where and when.
func (b *bench) head() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Benchmarks\n\n%s\n\n", report.Wrap(fmt.Sprintf("Made by `go run ./bench`. "+
		"Absolute figures depend on the machine, ratios hardly do. Everything runs in turns, %d "+
		"times (-rounds): figures are medians, with the least and the greatest in parentheses, and "+
		"a ratio is the median of the rounds' ratios. The hosts are network namespaces of one "+
		"machine, with cubic as their congestion control.", b.rounds)))
	for _, line := range gauge.Machine() {
		fmt.Fprintf(&w, "- %s\n", line)
	}
	fmt.Fprintf(&w, "- %s, %d s a measurement on the LAN, %d s on the WAN, %d idle clients\n",
		b.began.UTC().Format(time.DateOnly), b.seconds, b.wanSeconds, b.clients)
	if b.only != "" {
		fmt.Fprintf(&w, "- this run measured a part only (-only):\n  `%s`\n", b.only)
	}
	for _, c := range contender.Contenders(b.other, b.wsvpn) {
		if v := b.results.Version[c.Name()]; v != "" {
			fmt.Fprintf(&w, "- %s: %s\n", contender.Label(c.Name()), v)
		}
	}
	for _, a := range b.results.Absent {
		fmt.Fprintf(&w, "- %s: could not run, see below\n", a.What)
	}
	return w.String()
}
