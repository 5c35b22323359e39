package main

import (
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// fatLine is a line on which many bytes are under way at once.
type fatLine struct {
	id      string // the prefix of its figures
	title   string
	link    wan.Link
	up      float64 // the goodput wanted of one stream, Mbit/s
	several float64 // and that of four, in either direction
	rtt     float64 // the mean round trip wanted beside four streams, ms; 0 is none
}

// fatLines returns the long fat lines. Each has a queue as long as the path.
func fatLines() []fatLine {
	const far, near = 50 * time.Millisecond, 10 * time.Millisecond
	return []fatLine{
		{"fat0", "500 Mbit/s, 100 ms, no loss", wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6}, 400, 450, 125},
		{"fat01", "500 Mbit/s, 100 ms, 0.1 % loss", wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6, Loss: 0.001}, 250, 350, 0},
		{"gigabit", "1 Gbit/s, 20 ms, no loss", wan.Link{Rate: 1e9, Delay: near, Queue: 2.5e6}, 880, 880, 45},
	}
}

// The figures of a fatLine.
func (l fatLine) figure(what string) string { return l.id + "-" + what }

const (
	figUpFour   = "up4"
	figDownFour = "down4"
)

// usualBuffers gives a host the kernel's usual bounds of TCP buffers: later kernels have larger ones to receive.
func usualBuffers(h *lab.Host) {
	h.Sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304")
	h.Sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
}

// fat measures a contender on a long fat line.
func (b *bench) fat(l fatLine) func(*scope.Scope, int, contender.Contender) {
	return func(s *scope.Scope, round int, c contender.Contender) {
		link := l.link
		link.Seed = uint64(round)
		p := contender.NewWAN(s, link)
		usualBuffers(p.Client)
		usualBuffers(p.Server)
		e := c.Start(s, b.shop, p)
		for _, m := range []struct {
			figure string
			flags  []string
		}{{figUp, nil}, {figUpFour, []string{"-P", "4"}}, {figDownFour, []string{"-P", "4", "-R"}}} {
			got := gauge.RunStream(s, p.Client, p.Server, e.Server, b.wanSeconds, m.flags...)
			b.add(round, l.figure(m.figure), c.Name(), got.Rate/1e6)
		}
		b.add(round, l.figure(figRTT), c.Name(), b.loaded(s, p, e))
	}
}

// groupFat is the name of the figures of all fatLines.
const groupFat = "fat"

// fatGroup returns the figures of all fatLines.
func fatGroup() report.Group {
	g := report.Group{
		Name: groupFat, Title: "Long fat lines",
		Explain: "The line is emulated as above, with a queue as long as the path. Both hosts have the kernel's usual bounds of TCP buffers: " +
			"4 MiB to send, 6 MiB to receive. Goodput and round trip are measured as above, with one stream and with four.",
	}
	for _, l := range fatLines() {
		g.Plots = append(g.Plots,
			report.Plot{File: l.id + "-goodput", Title: l.title + ": goodput", IDs: []string{l.figure(figUp), l.figure(figUpFour), l.figure(figDownFour)}},
			report.Plot{File: l.id + "-rtt", Title: l.title + ": mean round trip under four streams", IDs: []string{l.figure(figRTT)}})
	}
	return g
}
