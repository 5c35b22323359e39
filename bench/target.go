package main

import (
	"fmt"
	"math"
)

// target is one line of the table that the project has set itself.
type target struct {
	what      string
	figure    string
	contender string
	over      string  // the contender that it is divided by; empty for the figure itself
	bound     float64 // in the figure's unit, or a ratio
	atLeast   bool    // else at most
}

// targets returns the project's targets, in the order of the report.
func targets() []target {
	var list []target
	both := func(what, contender, over string, bound float64) {
		list = append(list,
			target{what + ", client to server", figUp, contender, over, bound, true},
			target{what + ", server to client", figDown, contender, over, bound, true})
	}
	both("one TCP stream, ws:// ÷ limit", nameWS, nameLimit, 0.80)
	both("one TCP stream, wss:// ÷ limit", nameWSS, nameLimit, 0.50)
	both("one TCP stream, ws:// ÷ wireguard-go", nameWS, nameWireguard, 6)
	both("one TCP stream, wss:// ÷ wireguard-go", nameWSS, nameWireguard, 3.5)
	both("one TCP stream, wss:// ÷ wsvpn wss://", nameWSS, nameWSVPNWSS, 12)
	list = append(list,
		target{"64-byte UDP flood, ws:// ÷ limit", figUDP, nameWS, nameLimit, 2.5, true},
		target{"CPU seconds per GB, ws:// ÷ limit", figCPU, nameWS, nameLimit, 1.3, false},
		target{"idle round trip, median, ws:// ÷ limit", figRTT, nameWS, nameLimit, 1.15, false})
	for _, c := range []string{nameWS, nameWSS} {
		for _, line := range []struct {
			percent      string
			goodput, rtt float64
		}{{"0", 90, 60}, {"1", 80, 90}} {
			what := fmt.Sprintf("WAN, %s %% loss, %s://, ", line.percent, c)
			list = append(list,
				target{what + "client to server", wanFigure(line.percent, figUp), c, "", line.goodput, true},
				target{what + "server to client", wanFigure(line.percent, figDown), c, "", line.goodput, true},
				target{what + "mean round trip under four streams", wanFigure(line.percent, figRTT), c, "", line.rtt, false})
		}
	}
	for _, l := range fatLines() {
		list = append(list,
			target{l.title + ", wss://, one stream up", l.figure(figUp), nameWSS, "", l.up, true},
			target{l.title + ", wss://, four streams up", l.figure(figUpFour), nameWSS, "", l.several, true},
			target{l.title + ", wss://, four streams down", l.figure(figDownFour), nameWSS, "", l.several, true})
		if l.rtt > 0 {
			list = append(list, target{l.title + ", wss://, mean round trip under four streams", l.figure(figRTT), nameWSS, "", l.rtt, false})
		}
	}
	for _, c := range []string{nameWS, nameWSS} {
		list = append(list, target{"one client stopped: the others' throughput ÷ without, " + c + "://", figStall, c, "", 0.95, true})
	}
	list = append(list,
		target{"resident memory per idle client, wss://", figMemory, nameWSS, "", 40, false},
		target{"1 000 clients back after a restart, wss://", figReconnect, nameWSS, "", 10, false},
		target{"of them lost, wss://", figMissing, nameWSS, "", 0, false})
	for _, c := range []string{nameWS, nameWSS} {
		list = append(list, target{"one busy client beside 1 000 idle ones ÷ alone, " + c + "://", figBusy, c, "", 0.95, true})
	}
	return list
}

// measured returns what a run says about the target, NaN when it says nothing.
func (t target) measured(r *results) float64 {
	if t.over == "" {
		return median(r.of(t.figure, t.contender))
	}
	return ratio(r.of(t.figure, t.contender), r.of(t.figure, t.over))
}

// verdict is "yes", "no", or a dash when there is nothing to say.
func (t target) verdict(value float64) string {
	switch {
	case math.IsNaN(value):
		return "–"
	case t.atLeast && value >= t.bound, !t.atLeast && value <= t.bound:
		return "yes"
	}
	return "**no**"
}

// want prints what is wanted: "≥ 0.8", "≤ 60 ms".
func (t target) want() string {
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	return sign + " " + t.print(t.bound)
}

// print prints a value with the target's unit.
func (t target) print(value float64) string {
	text := short(value)
	if unit := figureOf(t.figure).unit; unit != "" && t.over == "" && !math.IsNaN(value) {
		text += " " + unit
	}
	return text
}

// marks returns the absolute bounds of a figure, for its plot.
func marks(figure string) []float64 {
	var list []float64
	for _, t := range targets() {
		if t.figure == figure && t.over == "" && (len(list) == 0 || list[0] != t.bound) {
			list = append(list, t.bound)
		}
	}
	return list
}
