package main

import (
	"strconv"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/wan"
)

// The link of the WAN figures, in each direction.
const (
	wanRate  = 100e6 // bit/s
	wanDelay = 20 * time.Millisecond
	wanQueue = 500e3 // bytes
)

// wan measures a contender on the link with a loss of percent.
func (b *bench) wan(percent string) func(*scope.Scope, int, contender.Contender) {
	return func(s *scope.Scope, round int, c contender.Contender) {
		share, err := strconv.ParseFloat(percent, 64)
		s.Must(err)
		link := wan.Link{Rate: wanRate, Delay: wanDelay, Queue: wanQueue, Loss: share / 100,
			Seed: uint64(round)}
		p := contender.NewWAN(s, link)
		e := c.Start(s, b.shop, p)
		up := gauge.RunStream(s, p.Client, p.Server, e.Server, b.wanSeconds)
		b.add(round, wanFigure(percent, figUp), c.Name(), up.Rate/1e6)
		down := gauge.RunStream(s, p.Client, p.Server, e.Server, b.wanSeconds, "-R")
		b.add(round, wanFigure(percent, figDown), c.Name(), down.Rate/1e6)
		b.add(round, wanFigure(percent, figRTT), c.Name(), b.loaded(s, p, e))
	}
}

// loaded returns the mean round trip, in milliseconds, under four streams.
func (b *bench) loaded(s *scope.Scope, p contender.Pair, e contender.Ends) float64 {
	const (
		interval = 50 * time.Millisecond
		// how much longer the streams run, so that the slowest contender's last answer comes
		late = 5 * time.Second
	)
	seconds := b.wanSeconds + int((gauge.WarmUp+late)/time.Second)
	server, client := gauge.StartStream(p.Client, p.Server, e.Server, seconds, "-P", "4")
	s.Sleep(gauge.WarmUp)
	rtts := gauge.Ping(s, p.Client, e.Server, int(time.Duration(b.wanSeconds)*time.Second/interval),
		interval)
	if client.Exited() {
		s.Fatalf("the four streams ended early: %s", client.Stdout())
	}
	client.Kill()
	server.Kill()
	return report.Mean(rtts)
}
