package main

import (
	"fmt"

	"tunnel/bench/contender"
	"tunnel/bench/report"
)

// targets returns the project's targets, in the order of the report.
func targets() []report.Target {
	var list []report.Target
	both := func(what, contender, over string, bound float64) {
		list = append(list,
			report.Target{What: what + ", client to server", Figure: figUp, Contender: contender,
				Over: over, Bound: bound, AtLeast: true},
			report.Target{What: what + ", server to client", Figure: figDown, Contender: contender,
				Over: over, Bound: bound, AtLeast: true})
	}
	both("one TCP stream, ws:// ÷ limit", contender.NameWS, contender.NameLimit, 0.80)
	both("one TCP stream, wss:// ÷ limit", contender.NameWSS, contender.NameLimit, 0.50)
	both("one TCP stream, ws:// ÷ wireguard-go", contender.NameWS, contender.NameWireguard, 6)
	both("one TCP stream, wss:// ÷ wireguard-go", contender.NameWSS, contender.NameWireguard, 3.5)
	both("one TCP stream, wss:// ÷ wsvpn wss://", contender.NameWSS, contender.NameWSVPNWSS, 12)
	list = append(list,
		report.Target{What: "64-byte UDP flood, ws:// ÷ limit", Figure: figUDP,
			Contender: contender.NameWS, Over: contender.NameLimit, Bound: 2.5, AtLeast: true},
		report.Target{What: "CPU seconds per GB, ws:// ÷ limit", Figure: figCPU,
			Contender: contender.NameWS, Over: contender.NameLimit, Bound: 1.3, AtLeast: false},
		report.Target{What: "idle round trip, median, ws:// ÷ limit", Figure: figRTT,
			Contender: contender.NameWS, Over: contender.NameLimit, Bound: 1.15, AtLeast: false})
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		for _, line := range []struct {
			percent      string
			goodput, rtt float64
		}{{"0", 90, 60}, {"1", 80, 90}} {
			what := fmt.Sprintf("WAN, %s %% loss, %s://, ", line.percent, c)
			list = append(list,
				report.Target{What: what + "client to server",
					Figure: wanFigure(line.percent, figUp), Contender: c, Over: "",
					Bound: line.goodput, AtLeast: true},
				report.Target{What: what + "server to client",
					Figure: wanFigure(line.percent, figDown), Contender: c, Over: "",
					Bound: line.goodput, AtLeast: true},
				report.Target{What: what + "mean round trip under four streams",
					Figure: wanFigure(line.percent,
						figRTT), Contender: c, Over: "", Bound: line.rtt, AtLeast: false})
		}
	}
	for _, l := range fatLines() {
		list = append(list,
			report.Target{What: l.title + ", wss://, one stream up", Figure: l.figure(figUp),
				Contender: contender.NameWSS, Over: "", Bound: l.up, AtLeast: true},
			report.Target{What: l.title + ", wss://, four streams up", Figure: l.figure(figUpFour),
				Contender: contender.NameWSS, Over: "", Bound: l.several, AtLeast: true},
			report.Target{What: l.title + ", wss://, four streams down",
				Figure: l.figure(
					figDownFour), Contender: contender.NameWSS, Over: "", Bound: l.several, AtLeast: true})
		if l.rtt > 0 {
			list = append(list,
				report.Target{What: l.title + ", wss://, mean round trip under four streams",
					Figure: l.figure(
						figRTT), Contender: contender.NameWSS, Over: "", Bound: l.rtt, AtLeast: false})
		}
	}
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		list = append(list,
			report.Target{What: "one client stopped: the others' throughput ÷ without, " + c +
				"://", Figure: figStall, Contender: c, Over: "", Bound: 0.95, AtLeast: true})
	}
	list = append(list,
		report.Target{What: "resident memory per idle client, wss://", Figure: figMemory,
			Contender: contender.NameWSS, Over: "", Bound: 40, AtLeast: false},
		report.Target{What: "1 000 clients back after a restart, wss://", Figure: figReconnect,
			Contender: contender.NameWSS, Over: "", Bound: 10, AtLeast: false},
		report.Target{What: "of them lost, wss://", Figure: figMissing,
			Contender: contender.NameWSS, Over: "", Bound: 0, AtLeast: false})
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		list = append(list, report.Target{What: "one busy client beside 1 000 idle ones ÷ alone, " +
			c + "://", Figure: figBusy, Contender: c, Over: "", Bound: 0.95, AtLeast: true})
	}
	list = append(list,
		report.Target{What: "one stream while attacked ÷ without, wss://", Figure: figAttacked,
			Contender: contender.NameWSS, Over: "", Bound: 0.8, AtLeast: true},
		report.Target{What: "a new client is up while attacked, wss://", Figure: figAttackedNew,
			Contender: contender.NameWSS, Over: "", Bound: 3, AtLeast: false},
		report.Target{What: "a returning client is up while attacked, wss://",
			Figure: figAttackedBack, Contender: contender.NameWSS, Over: "", Bound: 1, AtLeast: false})
	for _, tokens := range []int{greedySessions, 1} {
		what := fmt.Sprintf("%d greedy sessions, tokens: %d, ws://, ", greedySessions, tokens)
		list = append(list,
			report.Target{What: what + "a bystander's stream ÷ without",
				Figure: greedyFigure(tokens, figGreedyStream), Contender: contender.NameWS,
				Over: "", Bound: 0.9, AtLeast: true},
			report.Target{What: what + "most resident memory",
				Figure: greedyFigure(tokens, figGreedyPeak), Contender: contender.NameWS, Over: "",
				Bound: 300, AtLeast: false},
			report.Target{What: what + "resident memory 10 s after",
				Figure: greedyFigure(tokens,
					figGreedyAfter), Contender: contender.NameWS, Over: "", Bound: 100, AtLeast: false})
	}
	return list
}
