package main

import (
	"fmt"

	"tunnel/bench/contender"
	"tunnel/bench/report"
	"tunnel/bench/through"
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
			Contender: contender.NameWS, Over: contender.NameLimit, Bound: 1.3},
		report.Target{What: "idle round trip, median, ws:// ÷ limit", Figure: figRTT,
			Contender: contender.NameWS, Over: contender.NameLimit, Bound: 1.15})
	atLeast := func(what, figure, contender string, bound float64) {
		list = append(list, report.Target{What: what, Figure: figure, Contender: contender,
			Bound: bound, AtLeast: true})
	}
	atMost := func(what, figure, contender string, bound float64) {
		list = append(list, report.Target{What: what, Figure: figure, Contender: contender,
			Bound: bound})
	}
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		for _, w := range []struct {
			percent      string
			goodput, rtt float64
		}{{"0", 90, 60}, {"1", 80, 90}} {
			what := fmt.Sprintf("WAN, %s %% loss, %s://, ", w.percent, c)
			atLeast(what+"client to server", wanFigure(w.percent, figUp), c, w.goodput)
			atLeast(what+"server to client", wanFigure(w.percent, figDown), c, w.goodput)
			atMost(what+"mean round trip under four streams", wanFigure(w.percent, figRTT), c, w.rtt)
		}
	}
	for _, l := range contender.FatLinks() {
		what := l.Title + ", wss://, "
		atLeast(what+"one stream up", l.Figure(figUp), contender.NameWSS, l.Up)
		atLeast(what+"four streams up", l.Figure(figUpFour), contender.NameWSS, l.Several)
		atLeast(what+"four streams down", l.Figure(figDownFour), contender.NameWSS, l.Several)
		if l.RTT > 0 {
			atMost(what+"mean round trip under four streams", l.Figure(figRTT), contender.NameWSS,
				l.RTT)
		}
	}
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		atLeast("one client stopped: the others' throughput ÷ without, "+c+"://", figStall, c, 0.95)
	}
	list = append(list, through.Targets()...)
	atMost("resident memory per idle client, wss://", figMemory, contender.NameWSS, 40)
	atMost("1 000 clients back after a restart, wss://", figReconnect, contender.NameWSS, 10)
	atMost("of them lost, wss://", figMissing, contender.NameWSS, 0)
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		atLeast("one busy client beside 1 000 idle ones ÷ alone, "+c+"://", figBusy, c, 0.95)
	}
	atLeast("one stream while attacked ÷ beside the same attack on a sink, wss://",
		figAttackedBase, contender.NameWSS, 0.8)
	atMost("a new client is up while attacked, wss://", figAttackedNew, contender.NameWSS, 3)
	atMost("a returning client is up while attacked, wss://", figAttackedBack, contender.NameWSS, 1)
	for _, tokens := range []int{greedySessions, 1} {
		what := fmt.Sprintf("%d greedy sessions, tokens: %d, ws://, ", greedySessions, tokens)
		atLeast(what+"a bystander's stream ÷ beside the same load on a sink",
			greedyFigure(tokens, figGreedyServer), contender.NameWS, 0.9)
		atMost(what+"most resident memory", greedyFigure(tokens, figGreedyPeak), contender.NameWS,
			300)
		atMost(what+"resident memory 10 s after", greedyFigure(tokens, figGreedyAfter),
			contender.NameWS, 100)
	}
	return list
}
