package main

import "time"

// Of the idle round trip.
const (
	pings        = 200
	pingInterval = 10 * time.Millisecond
)

// warmUp is how long a flood runs before its packets are counted, and after.
const warmUp = time.Second

// lan measures a contender between two hosts on a fast wire.
func (b *bench) lan(s *scope, round int, c contender) {
	p := newLAN(s)
	e := c.start(s, b.shop, p)
	if b.measures("rtt") {
		b.idle(s, round, c.name(), p, e)
	}
	if b.measures("stream") {
		b.stream(s, round, c.name(), p, e)
	}
	if b.measures("udp") {
		b.flood(s, round, c.name(), p, e)
	}
}

// idle measures the round trip when nothing else is on the wire.
func (b *bench) idle(s *scope, round int, name string, p pair, e ends) {
	rtts := ping(s, p.client, e.server, pings, pingInterval)
	b.add(round, figRTT, name, median(rtts))
	b.add(round, figRTTMean, name, mean(rtts))
}

// stream measures one TCP stream in each direction, and what it costs.
func (b *bench) stream(s *scope, round int, name string, p pair, e ends) {
	before, err := cpuSeconds(p.server, p.client)
	s.must(err)
	up := runStream(s, p.client, p.server, e.server, b.seconds)
	b.add(round, figUp, name, up.rate/1e9)
	down := runStream(s, p.client, p.server, e.server, b.seconds, "-R")
	b.add(round, figDown, name, down.rate/1e9)
	after, err := cpuSeconds(p.server, p.client)
	s.must(err)
	if name != nameNone {
		b.add(round, figCPU, name, (after-before)/((up.bytes+down.bytes)/1e9))
	}
}

// flood measures how many small datagrams a second come through.
func (b *bench) flood(s *scope, round int, name string, p pair, e ends) {
	seconds := b.seconds + int(2*warmUp/time.Second)
	server, client := startStream(p.client, p.server, e.server, seconds, "-u", "-b", "0", "-l", "64")
	s.sleep(warmUp)
	count := func() (uint64, time.Time) {
		n, err := arrived(p.server)
		s.must(err)
		if e.outerUDP {
			outer, err := received(p.server, p.serverDev)
			s.must(err)
			n -= outer
		}
		return n, time.Now()
	}
	n0, t0 := count()
	s.sleep(time.Duration(b.seconds) * time.Second)
	n1, t1 := count()
	if client.Exited() {
		s.Fatalf("the flood ended early: %s", client.Stdout())
	}
	b.add(round, figUDP, name, float64(n1-n0)/t1.Sub(t0).Seconds()/1e3)
	// What iperf3 itself says about the flood is of no use, and its end may take long.
	client.Kill()
	server.Kill()
}
