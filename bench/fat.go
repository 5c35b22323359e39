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

// fatLink is a link with a large bandwidth-delay product.
type fatLink struct {
	id      string // prefix of the ids of its figures
	title   string
	link    wan.Link // of each direction
	up      float64  // target for the goodput of one stream, Mbit/s
	several float64  // target for that of four streams, in either direction
	rtt     float64  // target for the mean round trip under four streams, ms; 0 is none
}

// fatLinks returns the links of the group. Each has a queue of one bandwidth-delay product.
func fatLinks() []fatLink {
	const far, near = 50 * time.Millisecond, 10 * time.Millisecond
	return []fatLink{
		{
			id: "fat0", title: "500 Mbit/s, 100 ms, no loss",
			link: wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6},
			up:   400, several: 450, rtt: 125,
		},
		{
			id: "fat01", title: "500 Mbit/s, 100 ms, 0.1 % loss",
			link: wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6, Loss: 0.001},
			up:   250, several: 350,
		},
		{
			id: "gigabit", title: "1 Gbit/s, 20 ms, no loss",
			link: wan.Link{Rate: 1e9, Delay: near, Queue: 2.5e6},
			up:   880, several: 880, rtt: 45,
		},
	}
}

// figure returns the id of a figure of the link.
func (l fatLink) figure(what string) string { return l.id + "-" + what }

const (
	figUpFour   = "up4"
	figDownFour = "down4"
)

// usualBuffers gives a host the kernel's usual bounds of TCP buffers; later kernels have larger
// ones to receive.
func usualBuffers(h *lab.Host) {
	h.Sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304")
	h.Sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456")
}

// fat measures a contender on a link.
func (b *bench) fat(l fatLink) func(*scope.Scope, int, contender.Contender) {
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
		}{
			{figUp, nil},
			{figUpFour, []string{"-P", "4"}},
			{figDownFour, []string{"-P", "4", "-R"}},
		} {
			got := gauge.RunStream(s, p.Client, p.Server, e.Server, b.wanSeconds, m.flags...)
			b.add(round, l.figure(m.figure), c.Name(), got.Rate/1e6)
		}
		b.add(round, l.figure(figRTT), c.Name(), b.loaded(s, p, e))
	}
}

// groupFat is the name of the group of all fatLinks.
const groupFat = "fat"

// fatGroup returns the group of all fatLinks.
func fatGroup() report.Group {
	g := report.Group{
		Name: groupFat, Title: "Long fat links",
		Explain: "The link is emulated as above, with a queue of one bandwidth-delay product. Both " +
			"hosts have the kernel's usual bounds of TCP buffers: 4 MiB to send, 6 MiB to " +
			"receive. Goodput and round trip are measured as above, with one stream and with four.",
	}
	for _, l := range fatLinks() {
		g.Plots = append(g.Plots,
			report.Plot{
				File: l.id + "-goodput", Title: l.title + ": goodput",
				IDs: []string{l.figure(figUp), l.figure(figUpFour), l.figure(figDownFour)},
			},
			report.Plot{
				File: l.id + "-rtt", Title: l.title + ": mean round trip under four streams",
				IDs: []string{l.figure(figRTT)},
			})
	}
	return g
}
