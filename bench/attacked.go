package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// The attack on a server by clients without a token.
const (
	silentRate    = 1000 // silent connections a second, from silentSources
	silentSources = 6    // /64s of one IPv6 host
	helloRate     = 3800 // replayed ClientHellos a second, from one IPv4 address
	// programs that share helloRate: the scheduler shares time by session, and one gets too little
	helloPrograms = 4
	rateReached   = 0.9 // the least part of these rates with which a run counts
	attackFill    = 3 * time.Second
	attackRest    = 2 * time.Second
	attackServer  = "2001:db8:ffff::1"
	attackSource  = "198.51.100.200"
)

// attacked measures what an attack without a token costs an established client, and how long a new
// and a returning client take to connect meanwhile. Figures count only if the attackers' rates were
// reached.
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
	start := attackers(s, server, host("attacker", 20))

	var worstNew, worstReturning, silent, hello float64
	turn := 0
	stream := func() float64 {
		return gauge.RunStream(s, steady, server, contender.TunnelServer, b.seconds).Rate
	}
	while := func() float64 {
		attack := start()
		s.Sleep(attackFill) // until the server's queues and tables are full
		began, silentBefore, helloBefore := time.Now(), opened(attack[:1]), opened(attack[1:])
		rate := stream()
		turn++
		worstNew = max(worstNew, upIn(host(fmt.Sprint("new", turn), 30+turn)))
		worstReturning = max(worstReturning, upIn(returning))
		seconds := time.Since(began).Seconds()
		silent = float64(opened(attack[:1])-silentBefore) / seconds
		hello = float64(opened(attack[1:])-helloBefore) / seconds
		for _, a := range attack {
			b.say("%s: attacker: %s", c.Name(), lastLine(a))
			contender.Stop(a)
		}
		b.say("%s: attacked by %s silent connections and %s ClientHellos a second", c.Name(),
			report.Short(silent), report.Short(hello))
		if silent < rateReached*silentRate || hello < rateReached*helloRate {
			s.Fatalf("the attack was too slow: %s silent connections and %s ClientHellos a "+
				"second; want %d and %d",
				report.Short(silent), report.Short(hello), silentRate, helloRate)
		}
		s.Sleep(attackRest)
		return rate
	}
	without, with := inTurns(stream, while)
	b.say("%s: %s Gbit/s, %s while attacked", c.Name(), report.Short(without/1e9),
		report.Short(with/1e9))
	b.add(round, figAttacked, c.Name(), with/without)
	b.add(round, figAttackedNew, c.Name(), worstNew)
	b.add(round, figAttackedBack, c.Name(), worstReturning)
}

// attackers prepares both attacks from a host, and returns a function that starts them.
func attackers(s *scope.Scope, server, from *lab.Host) (start func() []*lab.Proc) {
	server.Run("ip", "-6", "addr", "add", attackServer+"/64", "dev", "eth0", "nodad")
	server.Run("ip", "-6", "route", "add", "2001:db8:a::/48", "dev", "eth0")
	from.Run("ip", "-6", "route", "add", attackServer+"/128", "dev", "eth0")
	from.Run("ip", "addr", "add", attackSource+contender.ClientMask, "dev", "eth0")
	var sources []string
	for i := range silentSources {
		addr := fmt.Sprintf("2001:db8:a:%x::1", i+1)
		from.Run("ip", "-6", "addr", "add", addr+"/64", "dev", "eth0", "nodad")
		sources = append(sources, addr)
	}
	self, err := os.Executable()
	s.Must(err)
	attack := func(kind, target string, rate int, sources ...string) *lab.Proc {
		p := from.Start(self, hostile.Command, "-kind", kind, "-target", target, "-rate",
			strconv.Itoa(rate), "-from", strings.Join(sources, ","))
		p.WaitFor("opened ", scope.Soon)
		return p
	}
	return func() []*lab.Proc {
		all := []*lab.Proc{attack(hostile.Silent, "["+attackServer+"]:"+contender.TunnelPort,
			silentRate, sources...)}
		for range helloPrograms {
			all = append(all, attack(hostile.Hello, contender.ServerAddr+":"+contender.TunnelPort,
				helloRate/helloPrograms, attackSource))
		}
		return all
	}
}

// opened returns how many connections all attackers have opened.
func opened(attackers []*lab.Proc) (n int) {
	for _, a := range attackers {
		n += hostile.Opened(a.Stdout())
	}
	return n
}
