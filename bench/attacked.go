package main

import (
	"fmt"
	"time"

	"tunnel/bench/assault"
	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

const (
	attackFill = 3 * time.Second // until the server's queues and tables are full
	attackRest = 2 * time.Second
)

// upTimes are the longest times that clients took to connect, in seconds.
type upTimes struct{ fresh, returning float64 }

// attacked measures what an attack without a token costs an established client, and how long a new
// and a returning client take to connect meanwhile. The base is the same attack on a sink beside
// the server. Figures count only if the attackers' rates were reached.
func (b *bench) attacked(s *scope.Scope, round int, c *contender.Tunnel) {
	l := lab.New(s)
	sw := l.Switch("switch")
	host := func(name string, number int) *lab.Host {
		h := s.Host(l, name)
		l.Attach(h, fmt.Sprintf("198.51.100.%d%s", number, contender.ClientMask), sw)
		return h
	}
	server := host("server", 1)
	c.Serve(s, b.shop, server, b.shop.Temp(s), "--listen", ":"+contender.TunnelPort)
	steady, returning := host("steady", 10), host("returning", 11)
	_, _ = c.Connect(s, b.shop, steady)
	contender.AwaitPing(s, steady, contender.TunnelServer)
	upIn := func(h *lab.Host) float64 {
		began := time.Now()
		proc, _ := c.Connect(s, b.shop, h)
		took := time.Since(began)
		contender.Stop(proc)
		return took.Seconds()
	}
	upIn(returning)
	from := assault.New(s, server, host("attacker", 20))
	sink := server.Start(from.Program, hostile.Command, "-kind", hostile.Drop, "-target",
		"[::]:"+sinkPort)
	sink.WaitFor(hostile.Listening, scope.Soon)

	fresh := 0
	stream := func() float64 {
		return gauge.RunStream(s, steady, server, contender.TunnelServer, b.seconds).Rate
	}
	while := func(what, port string, worst *upTimes) func() float64 {
		say := func(format string, args ...any) {
			b.say("%s, %s: %s", c.Name(), what, fmt.Sprintf(format, args...))
		}
		return func() float64 {
			attack := from.Begin(port)
			s.Sleep(attackFill)
			began := time.Now()
			silentBefore, helloBefore := attack.Opened()
			used := b.processors(s, c.Name()+", "+what, from.Host, server, steady)
			rate := stream()
			used()
			fresh++
			newIn, backIn := upIn(host(fmt.Sprint("new", fresh), 30+fresh)), upIn(returning)
			worst.fresh, worst.returning = max(worst.fresh, newIn), max(worst.returning, backIn)
			seconds := time.Since(began).Seconds()
			silent, hello := attack.Opened()
			attack.End(say)
			perSecond := func(now, before int) float64 { return float64(now-before) / seconds }
			say("%s silent connections and %s ClientHellos a second, a new client is up in %s s, a "+
				"returning one in %s s", report.Short(perSecond(silent, silentBefore)),
				report.Short(perSecond(hello, helloBefore)), report.Short(newIn),
				report.Short(backIn))
			assault.CheckRates(s, perSecond(silent, silentBefore), perSecond(hello, helloBefore))
			s.Sleep(attackRest)
			return rate
		}
	}
	var base, worst upTimes
	without, means := inTurns(stream, while("attack on a sink", sinkPort, &base),
		while("attacked", contender.TunnelPort, &worst))
	beside, with := means[0], means[1]
	b.say("%s: %s Gbit/s, %s beside an attack on a sink, %s while attacked", c.Name(),
		report.Short(without/1e9), report.Short(beside/1e9), report.Short(with/1e9))
	b.add(round, figAttackedBase, c.Name(), with/beside)
	b.add(round, figAttacked, c.Name(), with/without)
	b.add(round, figAttackedNew, c.Name(), worst.fresh)
	b.add(round, figAttackedNewBase, c.Name(), base.fresh)
	b.add(round, figAttackedBack, c.Name(), worst.returning)
	b.add(round, figAttackedBackBase, c.Name(), base.returning)
}

// processors begins to count the processor time of each host's programs. The function that it
// returns prints how many processors each has used since then.
func (b *bench) processors(s *scope.Scope, what string, hosts ...*lab.Host) (used func()) {
	seconds := func() (list []float64) {
		for _, h := range hosts {
			n, err := gauge.CPUSeconds(h)
			s.Must(err)
			list = append(list, n)
		}
		return list
	}
	began, before := time.Now(), seconds()
	return func() {
		text := ""
		for i, n := range seconds() {
			text += fmt.Sprintf(" %s %.2f", hosts[i].Name(),
				(n-before[i])/time.Since(began).Seconds())
		}
		b.say("%s: processors used by programs on%s", what, text)
	}
}
