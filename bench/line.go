package main

import (
	"strconv"
	"time"

	"tunnel/e2e/wan"
)

// The line of the WAN figures, in each direction.
const (
	lineRate  = 100e6 // bit/s
	lineDelay = 20 * time.Millisecond
	lineQueue = 500e3 // bytes
)

// wan measures a contender on a long line with a loss of so many percent.
func (b *bench) wan(percent string) func(*scope, int, contender) {
	return func(s *scope, round int, c contender) {
		share, err := strconv.ParseFloat(percent, 64)
		s.must(err)
		link := wan.Link{Rate: lineRate, Delay: lineDelay, Queue: lineQueue, Loss: share / 100, Seed: uint64(round)}
		p := newWAN(s, link)
		e := c.start(s, b.shop, p)
		up := runStream(s, p.client, p.server, e.server, b.wanSeconds)
		b.add(round, wanFigure(percent, figUp), c.name(), up.rate/1e6)
		down := runStream(s, p.client, p.server, e.server, b.wanSeconds, "-R")
		b.add(round, wanFigure(percent, figDown), c.name(), down.rate/1e6)
		b.add(round, wanFigure(percent, figRTT), c.name(), b.loaded(s, p, e))
	}
}

// loaded returns the mean round trip, in milliseconds, while four streams run.
func (b *bench) loaded(s *scope, p pair, e ends) float64 {
	const (
		interval = 50 * time.Millisecond
		late     = 5 * time.Second // the last answer of the slowest contender; the streams must not end before it
	)
	seconds := b.wanSeconds + int((warmUp+late)/time.Second)
	server, client := startStream(p.client, p.server, e.server, seconds, "-P", "4")
	s.sleep(warmUp)
	rtts := ping(s, p.client, e.server, int(time.Duration(b.wanSeconds)*time.Second/interval), interval)
	if client.Exited() {
		s.Fatalf("the four streams ended early: %s", client.Stdout())
	}
	client.Kill()
	server.Kill()
	return mean(rtts)
}
