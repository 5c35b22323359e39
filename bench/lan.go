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

// warmUp is how long a flood runs before and after the time in which packets are counted.
const warmUp = time.Second

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
	seconds := b.seconds + int(2*warmUp/time.Second)
	server, client := gauge.StartStream(p.Client, p.Server, e.Server, seconds, "-u", "-b", "0",
		"-l", "64")
	s.Sleep(warmUp)
	count := func() (uint64, time.Time) {
		n, err := gauge.Arrived(p.Server)
		s.Must(err)
		if e.OuterUDP {
			outer, err := gauge.Received(p.Server, p.ServerDev)
			s.Must(err)
			n -= outer
		}
		return n, time.Now()
	}
	n0, t0 := count()
	s.Sleep(time.Duration(b.seconds) * time.Second)
	n1, t1 := count()
	if client.Exited() {
		s.Fatalf("the flood ended early: %s", client.Stdout())
	}
	b.add(round, figUDP, name, float64(n1-n0)/t1.Sub(t0).Seconds()/1e3)
	// iperf3's own report of the flood is not needed, and its end may take long.
	client.Kill()
	server.Kill()
}
