package main

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/load"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

const (
	reconnecting   = 1000  // clients that come back after a restart
	besides        = 1000  // idle clients beside a busy one
	perSource      = 20000 // clients with one source address, well below the number of ports
	maxClients     = 200 * perSource
	memoryInterval = time.Second
	backWait       = 2 * time.Minute // for clients to come back before they count as missing
)

// crowd makes a host for the load generator, with a link to the host of c's server. start starts
// the generator with n idle clients, and returns when all are connected.
func (b *bench) crowd(s *scope.Scope, c *contender.Tunnel, l *lab.Lab, server *lab.Host,
	n int) (start func() *lab.Proc) {
	h := s.Host(l, "crowd")
	dev, _ := l.Link(h, "198.18.0.1/16", server, "198.18.255.254/16")
	h.Run("ip", "route", "add", contender.ServerAddr, "via", "198.18.255.254")
	sources := []string{"198.18.0.1"}
	for i := 1; i*perSource < n; i++ {
		addr := fmt.Sprintf("198.18.1.%d", i)
		h.Run("ip", "addr", "add", addr+"/16", "dev", dev)
		sources = append(sources, addr)
	}
	self, err := os.Executable()
	s.Must(err)
	argv := []string{self, loadCommand, "-url", c.URL(), "-token", contender.TunnelToken,
		"-clients", strconv.Itoa(n), "-from", strings.Join(sources, ",")}
	if c.Secure {
		argv = append(argv, "-ca", b.shop.File(contender.CACert))
	}
	return func() *lab.Proc {
		proc := h.Start(argv...)
		proc.WaitFor(load.AllUp+" 1:", time.Minute+time.Duration(n)*20*time.Millisecond)
		return proc
	}
}

// roomFor returns the flags of a server for n clients with few source addresses.
func roomFor(n int) []string {
	addresses := uint(2*(n+2) + 2)
	return []string{"--network", fmt.Sprintf("10.64.0.0/%d", 32-bits.Len(addresses-1)),
		"--max-per-address", "0"}
}

// serveCrowd starts a server for n clients on a new host, at contender.ServerAddr. again starts it
// anew.
func (b *bench) serveCrowd(s *scope.Scope, c *contender.Tunnel, n int) (l *lab.Lab,
	server *lab.Host, proc *lab.Proc, again func() *lab.Proc) {
	l = lab.New(s)
	server = s.Host(l, "server")
	server.Run("ip", "addr", "add", contender.ServerAddr+"/32", "dev", "lo")
	state := b.shop.Temp(s)
	again = func() *lab.Proc { return c.Serve(s, b.shop, server, state, roomFor(n)...) }
	return l, server, again(), again
}

// memory measures the server's memory per idle client.
func (b *bench) memory(s *scope.Scope, round int, c *contender.Tunnel) {
	l, server, proc, _ := b.serveCrowd(s, c, b.clients)
	s.Sleep(time.Second)
	before, err := gauge.Resident(proc.Worker())
	s.Must(err)
	all := b.crowd(s, c, l, server, b.clients)()
	b.say("%s: %s", c.Name(), lastLine(all))
	s.Sleep(b.settle)
	after, err := gauge.Resident(proc.Worker())
	s.Must(err)
	if up := load.LastUp(all.Stdout()); up != b.clients {
		s.Fatalf("%d of %d clients are connected: %s", up, b.clients, lastLine(all))
	}
	b.say("%s: the server has %s MiB without clients, %s MiB with %d", c.Name(),
		report.Short(before/1024), report.Short(after/1024), b.clients)
	b.add(round, figMemory, c.Name(), (after-before)/float64(b.clients))
}

// reconnect measures how long it takes until all clients are back after a restart of the server.
func (b *bench) reconnect(s *scope.Scope, round int, c *contender.Tunnel) {
	l, server, proc, again := b.serveCrowd(s, c, reconnecting)
	all := b.crowd(s, c, l, server, reconnecting)()
	begin := time.Now()
	contender.Stop(proc)
	stopped := time.Since(begin)
	again()
	listens := time.Since(begin)
	for time.Since(begin) < backWait && !strings.Contains(all.Stdout(), load.AllUp+" 2:") {
		if all.Exited() {
			s.Fatalf("the load generator ended: %s", all.Stderr())
		}
		s.Sleep(10 * time.Millisecond)
	}
	took := time.Since(begin)
	last := load.LastUp(all.Stdout())
	moved := load.LastMoved(all.Stdout())
	b.say("%s: the old server had stopped after %v, the new one listened after %v; %s", c.Name(),
		stopped.Round(time.Millisecond), listens.Round(time.Millisecond), lastLine(all))
	b.add(round, figReconnect, c.Name(), took.Seconds())
	b.add(round, figMissing, c.Name(), float64(reconnecting-last+moved))
}

// busy measures the throughput that idle clients cost a busy one.
func (b *bench) busy(s *scope.Scope, round int, c *contender.Tunnel) {
	l, server, _, _ := b.serveCrowd(s, c, besides+1)
	worker := s.Host(l, "worker")
	l.Link(server, "203.0.113.1/24", worker, "203.0.113.2/24")
	worker.Run("ip", "route", "add", "default", "via", "203.0.113.1")
	_, _ = c.Connect(s, b.shop, worker)
	inner := contender.AddressOn(s, server, "tun0")
	contender.AwaitPing(s, worker, inner)
	one := func() float64 { return gauge.RunStream(s, worker, server, inner, b.seconds).Rate }
	start := b.crowd(s, c, l, server, besides)
	beside := func() float64 {
		all := start()
		s.Sleep(time.Second)
		rate := one()
		all.Kill()
		s.Sleep(time.Second)
		return rate
	}
	without, means := inTurns(one, beside)
	b.say("%s: %s Gbit/s alone, %s beside %d idle clients", c.Name(), report.Short(without/1e9),
		report.Short(means[0]/1e9), besides)
	b.add(round, figBusy, c.Name(), means[0]/without)
}

// lastLine returns the last line of a program's stdout.
func lastLine(p *lab.Proc) string {
	lines := strings.Split(strings.TrimSpace(p.Stdout()), "\n")
	return lines[len(lines)-1]
}
