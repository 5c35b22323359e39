package main

import (
	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

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
func (b *bench) fat(l contender.FatLink) func(*scope.Scope, int, contender.Contender) {
	return func(s *scope.Scope, round int, c contender.Contender) {
		link := l.Link
		link.Seed = uint64(round)
		p := contender.NewFastWAN(s, link)
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
			b.add(round, l.Figure(m.figure), c.Name(), got.Rate/1e6)
		}
		b.add(round, l.Figure(figRTT), c.Name(), b.loaded(s, p, e))
	}
}

// fatGroups returns a group for each of contender.FatLinks.
func fatGroups() (groups []report.Group) {
	for _, l := range contender.FatLinks() {
		groups = append(groups, report.Group{
			Name: l.ID, Title: "A long fat link: " + l.Title,
			Explain: "The link is emulated as above, with a queue of one bandwidth-delay product, " +
				"but its devices have offloads: a super-frame counts, waits and is lost as its " +
				"segments. Both hosts have the kernel's usual bounds of TCP buffers: 4 MiB to " +
				"send, 6 MiB to receive. Goodput and round trip are measured as above, with one " +
				"stream and with four.",
			Plots: []report.Plot{
				{
					File: l.ID + "-goodput", Title: l.Title + ": goodput",
					IDs: []string{l.Figure(figUp), l.Figure(figUpFour), l.Figure(figDownFour)},
				},
				{
					File: l.ID + "-rtt", Title: l.Title + ": mean round trip under four streams",
					IDs: []string{l.Figure(figRTT)},
				},
			},
		})
	}
	return groups
}
