package main

import (
	"fmt"
	"slices"
	"strings"

	"tunnel/bench/assault"
	"tunnel/bench/contender"
	"tunnel/bench/report"
	"tunnel/bench/through"
)

// The figures' ids.
const (
	figUp        = "up"
	figDown      = "down"
	figCPU       = "cpu"
	figUDP       = "udp"
	figRTT       = "rtt"
	figRTTMean   = "rtt-mean"
	figStall     = "stall"
	figMemory    = "memory"
	figReconnect = "reconnect"
	figMissing   = "missing"
	figBusy      = "busy"

	figAttacked     = "attacked"
	figAttackedBase = "attacked-server"
	figAttackedNew  = "attacked-new"
	figAttackedBack = "attacked-returning"

	figAttackedNewBase  = "attacked-new-base"
	figAttackedBackBase = "attacked-returning-base"

	figGreedyStream = "stream"
	figGreedyServer = "server"
	figGreedyPeak   = "peak"
	figGreedyAfter  = "after"
)

// wanFigure returns the id of a figure of the WAN link with a loss of percent.
func wanFigure(percent, what string) string { return "wan" + percent + "-" + what }

// figures returns all figures.
func figures() []report.Figure {
	list := []report.Figure{
		{ID: figUp, Title: "one TCP stream, client to server", Unit: "Gbit/s", Higher: true},
		{ID: figDown, Title: "one TCP stream, server to client", Unit: "Gbit/s", Higher: true},
		{ID: figCPU, Title: "CPU of the tunnel's own processes, both ends, both directions",
			Unit: "s/GB"},
		{ID: figUDP, Title: "64-byte UDP flood, datagrams that reach the receiver's UDP layer",
			Unit: "1000/s", Higher: true},
		{ID: figRTT, Title: "idle round trip, median", Unit: "ms"},
		{ID: figRTTMean, Title: "idle round trip, mean", Unit: "ms"},
	}
	for _, percent := range []string{"0", "1"} {
		loss := ", " + percent + " % loss"
		list = append(list,
			report.Figure{ID: wanFigure(percent, figUp),
				Title: "one stream, client to server" + loss, Unit: "Mbit/s", Higher: true},
			report.Figure{ID: wanFigure(percent, figDown),
				Title: "one stream, server to client" + loss, Unit: "Mbit/s", Higher: true},
			report.Figure{ID: wanFigure(percent, figRTT),
				Title: "mean round trip under four streams up" + loss, Unit: "ms"})
	}
	for _, l := range contender.FatLinks() {
		list = append(list,
			report.Figure{ID: l.Figure(figUp),
				Title: "one stream up, " + l.Title, Unit: "Mbit/s", Higher: true},
			report.Figure{ID: l.Figure(figUpFour),
				Title: "four streams up, " + l.Title, Unit: "Mbit/s", Higher: true},
			report.Figure{ID: l.Figure(figDownFour),
				Title: "four streams down, " + l.Title, Unit: "Mbit/s", Higher: true},
			report.Figure{ID: l.Figure(figRTT),
				Title: "mean round trip under four streams up, " + l.Title, Unit: "ms"})
	}
	for _, tokens := range []int{greedySessions, 1} {
		with := fmt.Sprintf("beside %d greedy sessions with %d tokens", greedySessions, tokens)
		if tokens == 1 {
			with = fmt.Sprintf("beside %d greedy sessions with one token", greedySessions)
		}
		list = append(list,
			report.Figure{ID: greedyFigure(tokens, figGreedyStream),
				Title: "one stream " + with + " ÷ without", Higher: true},
			report.Figure{ID: greedyFigure(tokens, figGreedyServer),
				Title: "one stream " + with + " ÷ beside the same load on a sink", Higher: true},
			report.Figure{ID: greedyFigure(tokens, figGreedyPeak),
				Title: "most resident memory of the server " + with, Unit: "MiB"},
			report.Figure{ID: greedyFigure(tokens, figGreedyAfter),
				Title: "resident memory of the server 10 s after, " + with, Unit: "MiB"})
	}
	list = append(list, through.Figures()...)
	return append(list,
		report.Figure{ID: figAttackedBase,
			Title: "one stream while attacked ÷ beside the same attack on a sink", Higher: true},
		report.Figure{ID: figAttacked, Title: "one stream while attacked ÷ without", Higher: true},
		report.Figure{ID: figAttackedNew,
			Title: "a new client is up while attacked, slowest", Unit: "s"},
		report.Figure{ID: figAttackedNewBase,
			Title: "a new client is up beside the same attack on a sink, slowest", Unit: "s"},
		report.Figure{ID: figAttackedBack,
			Title: "a returning client is up while attacked, slowest", Unit: "s"},
		report.Figure{ID: figAttackedBackBase,
			Title: "a returning client is up beside the same attack on a sink, slowest", Unit: "s"},
		report.Figure{ID: figStall,
			Title: "two clients' throughput while a third is stopped ÷ without", Higher: true},
		report.Figure{ID: figMemory,
			Title: "resident memory of the server per idle client", Unit: "KiB"},
		report.Figure{ID: figReconnect,
			Title: "1 000 clients all back after a restart of the server", Unit: "s"},
		report.Figure{ID: figMissing,
			Title: "of them not back, or back with another address", Unit: "clients"},
		report.Figure{ID: figBusy,
			Title: "throughput of one client beside 1 000 idle ones ÷ alone", Higher: true},
	)
}

// groups returns the groups that -only can name, in the order of the report.
func groups() []report.Group {
	wan := func(percent string) report.Group {
		link := "100 Mbit/s, 40 ms, " + percent + " % loss: "
		return report.Group{
			Name:  "wan" + percent,
			Title: "A link of 100 Mbit/s, 40 ms, 500 KB queue, " + percent + " % loss",
			Explain: "The link is emulated in user space between the hosts: 100 Mbit/s, 20 ms and a " +
				"drop-tail queue of 500 KB in each direction, random loss with the same seed for " +
				"all in a round. Goodput is what iperf3's receiver counts, slow start included. The " +
				"round trip is that of pings through the tunnel every 50 ms while four streams run " +
				"from client to server, from one second after their start.",
			Plots: []report.Plot{
				{File: "wan" + percent + "-goodput", Title: link + "goodput of one stream",
					IDs: []string{wanFigure(percent, figUp), wanFigure(percent, figDown)}},
				{File: "wan" + percent + "-rtt", Title: link + "mean round trip under four streams",
					IDs: []string{wanFigure(percent, figRTT)}},
			},
		}
	}
	return slices.Concat([]report.Group{
		{
			Name: "stream", Title: "One TCP stream on a LAN",
			Explain: "iperf3, one stream, as the receiver counts it; the hosts are joined by a veth " +
				"pair, and every program is in a session of its own (sched(7), autogroups). CPU is " +
				"utime and stime of all processes of the contender at both ends, divided by the " +
				"bytes of both directions. What the kernel does in interrupts is not counted, so a " +
				"contender that leaves its work to the kernel looks cheaper than it is.",
			Plots: []report.Plot{
				{File: "stream", Title: "One TCP stream on a LAN", IDs: []string{figUp, figDown}},
				{File: "cpu", Title: "CPU seconds per GB, both ends", IDs: []string{figCPU}},
			},
		},
		{
			Name: "udp", Title: "Small packets",
			Explain: "iperf3 -u -b 0 -l 64 from client to server. The figure is InDatagrams + " +
				"RcvbufErrors of the receiver's kernel, from one second after the start, because " +
				"iperf3 itself reads too slowly. The datagrams of a tunnel over UDP are subtracted.",
			Plots: []report.Plot{{File: "udp", Title: "64-byte UDP flood", IDs: []string{figUDP}}},
		},
		{
			Name: "rtt", Title: "Idle round trip on a LAN",
			Explain: "200 pings from client to server, one every 10 ms.",
			Plots: []report.Plot{{File: "rtt", Title: "Idle round trip on a LAN",
				IDs: []string{figRTT, figRTTMean}}},
		},
		wan("0"),
		wan("1"),
	}, fatGroups(), []report.Group{
		through.Group(),
		{
			Name: "stall", Title: "A stalled client",
			Explain: "Three clients on a switch. The server sends one TCP stream to each of two. In " +
				"turns, three times, the third, for which datagrams wait at the server, is stopped " +
				"with SIGSTOP. The figure is the mean sum of the two streams while it is stopped, " +
				"divided by that while it is not.",
			Plots: []report.Plot{{File: "stall",
				Title: "Two clients' throughput while a third is stopped ÷ without",
				IDs:   []string{figStall}}},
		},
		{
			Name: "memory", Title: "Idle clients",
			Explain: "Clients of the load generator in a host of their own, TLS, each with a session. " +
				"The figure is the growth of the server's resident memory from none to all of them, " +
				"divided by their number, after a time to settle.",
			Plots: []report.Plot{{File: "memory",
				Title: "Resident memory of the server per idle client", IDs: []string{figMemory}}},
		},
		{
			Name: "reconnect", Title: "A restart of the server",
			Explain: "1 000 clients of the load generator, which reconnect as the program's own " +
				"clients do: 0.25 to 0.5 s after the loss, then after twice as long each time, up to " +
				"15 s. The time runs from SIGTERM to the old server until the last client has its " +
				"session again, with the same address.",
			Plots: []report.Plot{
				{File: "reconnect", Title: "1 000 clients all back after a restart",
					IDs: []string{figReconnect}},
				{File: "missing", Title: "Clients lost in a restart, of 1 000",
					IDs: []string{figMissing}},
			},
		},
		{
			Name: "busy", Title: "One busy client among idle ones",
			Explain: "One TCP stream from client to server, in turns, three times, alone and beside " +
				"1 000 idle clients of the load generator. The figure is the mean beside them, " +
				"divided by that alone.",
			Plots: []report.Plot{{File: "busy",
				Title: "One busy client beside 1 000 idle ones ÷ alone", IDs: []string{figBusy}}},
		},
		{
			Name: "attacked", Title: "An attacked server",
			Explain: fmt.Sprintf("%d silent connections a second from six /64s of one IPv6 host, and "+
				"one ClientHello replayed %d times a second from one IPv4 address, by programs in "+
				"sessions of their own; a run in which they reach less than %.0f %% of these rates "+
				"counts as failed. One TCP stream of a client that is connected, in turns, three "+
				"times, without an attack, beside both attacks on a sink, and with both on the "+
				"server. The sink is a program on the server's host that resets each connection as "+
				"soon as it is accepted: what the attackers and the kernel cost is in the first "+
				"ratio's divisor. A client that the server has never seen, and one that was "+
				"connected before, connect during the attacks; the time is from the start of the "+
				"program to its line up:, the slowest of three.",
				assault.SilentRate, assault.HelloRate, 100*assault.RateReached),
			Plots: []report.Plot{
				{File: "attacked-stream", Title: "One stream while attacked",
					IDs: []string{figAttackedBase, figAttacked}},
				{File: "attacked-up", Title: "Clients are up while attacked", IDs: []string{
					figAttackedNew, figAttackedNewBase, figAttackedBack, figAttackedBackBase}},
			},
		},
		{
			Name: "bystander", Title: "A bystander of greedy clients",
			Explain: fmt.Sprintf("%d sessions that each send 16 pings of 1 300 bytes every 100 ms and "+
				"do not read the answers, with a token each, and all with one; the server has "+
				"--max-memory %s. One TCP stream of another token's client, in turns, three times, "+
				"without them, beside the same program while it sends to a sink, and beside them. The "+
				"sink is a program on the server's host that reads at the server's pace and does "+
				"nothing: what the sending costs is in that ratio's divisor. Memory is the server's "+
				"most in the whole run, and what it has 10 s after they have left, the most of three.",
				greedySessions, greedyMemory),
			Plots: []report.Plot{
				{File: "bystander-server",
					Title: "One stream beside greedy sessions ÷ beside the same load on a sink",
					IDs: []string{greedyFigure(greedySessions, figGreedyServer),
						greedyFigure(1, figGreedyServer)}},
				{File: "bystander-stream", Title: "One stream beside greedy sessions ÷ without",
					IDs: []string{greedyFigure(greedySessions, figGreedyStream),
						greedyFigure(1, figGreedyStream)}},
				{File: "bystander-memory", Title: "Resident memory of the server", IDs: []string{
					greedyFigure(greedySessions, figGreedyPeak),
					greedyFigure(greedySessions, figGreedyAfter), greedyFigure(1, figGreedyPeak),
					greedyFigure(1, figGreedyAfter),
				}},
			},
		},
	})
}

func groupNames() []string {
	var list []string
	for _, g := range groups() {
		list = append(list, g.Name)
	}
	return list
}

// seriesName returns the name of a figure in a plot's legend, "" for its title.
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
	return ""
}
