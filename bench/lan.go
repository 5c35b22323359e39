package main

import (
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
)

// The measurement of the idle round trip.
const (
	pings        = 200
	pingInterval = 10 * time.Millisecond
)

// lan measures a contender between two hosts that a veth pair joins.
func (b *bench) lan(s *scope.Scope, round int, c contender.Contender) {
	p := contender.NewLAN(s)
	e := c.Start(s, b.shop, p)
	if b.measures("rtt") {
		b.idle(s, round, c.Name(), p, e)
	}
	if b.measures("stream") {
		b.stream(s, round, c.Name(), p, e)
	}
	if b.measures("udp") {
		b.flood(s, round, c.Name(), p, e)
	}
}

// idle measures the round trip without other traffic.
func (b *bench) idle(s *scope.Scope, round int, name string, p contender.Pair, e contender.Ends) {
	rtts := gauge.Ping(s, p.Client, e.Server, pings, pingInterval)
	b.add(round, figRTT, name, report.Median(rtts))
	b.add(round, figRTTMean, name, report.Mean(rtts))
}

// stream measures one TCP stream in each direction, and the CPU time of both.
func (b *bench) stream(s *scope.Scope, round int, name string, p contender.Pair, e contender.Ends) {
	before, err := gauge.CPUSeconds(p.Server, p.Client)
	s.Must(err)
	up := gauge.RunStream(s, p.Client, p.Server, e.Server, b.seconds)
	b.add(round, figUp, name, up.Rate/1e9)
	down := gauge.RunStream(s, p.Client, p.Server, e.Server, b.seconds, "-R")
	b.add(round, figDown, name, down.Rate/1e9)
	after, err := gauge.CPUSeconds(p.Server, p.Client)
	s.Must(err)
	if name != contender.NameNone {
		b.add(round, figCPU, name, (after-before)/((up.Bytes+down.Bytes)/1e9))
	}
}

// flood measures how many small datagrams a second arrive.
func (b *bench) flood(s *scope.Scope, round int, name string, p contender.Pair, e contender.Ends) {
	outer := ""
	if e.OuterUDP {
		outer = p.ServerDev
	}
	b.add(round, figUDP, name, gauge.Flood(s, p.Client, p.Server, e.Server, b.seconds, outer)/1e3)
}
