package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// The datagrams for the stalled client: many until all queues to it are full, then few, so that
// sending them does not affect the measurement.
const (
	fillTime  = 2 * time.Second
	fillBurst = 25 // datagrams at once, 5 000 a second
	pourPause = 5 * time.Millisecond
	datagram  = 1200 // bytes
)

// stall measures the throughput that one stopped client costs the others.
func (b *bench) stall(s *scope.Scope, round int, c *contender.Tunnel) {
	l := lab.New(s)
	sw := l.Switch("switch")
	server := s.Host(l, "server")
	l.Attach(server, contender.ServerAddr+contender.ClientMask, sw)
	c.Serve(s, b.shop, server, b.shop.Temp(s))
	var hosts []*lab.Host
	var procs []*lab.Proc
	var addrs []string
	for i := range 3 {
		h := s.Host(l, fmt.Sprintf("client%d", i))
		l.Attach(h, fmt.Sprintf("198.51.100.%d%s", 11+i, contender.ClientMask), sw)
		proc, addr := c.Connect(s, b.shop, h)
		contender.AwaitPing(s, h, contender.TunnelServer)
		hosts, procs, addrs = append(hosts, h), append(procs, proc), append(addrs, addr)
	}
	others := func() float64 {
		s1, c1 := gauge.StartStream(server, hosts[0], addrs[0], b.seconds)
		s2, c2 := gauge.StartStream(server, hosts[1], addrs[1], b.seconds)
		return gauge.EndStream(s, s1, c1, b.seconds).Rate + gauge.EndStream(s, s2, c2,
			b.seconds).Rate
	}
	victim := procs[2]
	while := func() float64 {
		victim.Signal(syscall.SIGSTOP)
		end := pour(s, server, addrs[2])
		s.Sleep(fillTime)
		rate := others()
		end()
		victim.Signal(syscall.SIGCONT)
		contender.AwaitPing(s, hosts[2], contender.TunnelServer)
		return rate
	}
	without, means := inTurns(others, while)
	b.say("%s: %s Gbit/s, %s while one client is stopped", c.Name(), report.Short(without/1e9),
		report.Short(means[0]/1e9))
	b.add(round, figStall, c.Name(), means[0]/without)
}

// pour sends datagrams from a host to an address until end is called.
func pour(s *scope.Scope, from *lab.Host, addr string) (end func()) {
	conn, err := from.DialContext(context.Background(), "udp", addr+":9")
	s.Must(err)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer conn.Close()
		payload := make([]byte, datagram)
		for begin := time.Now(); ; {
			burst := 1
			if time.Since(begin) < fillTime {
				burst = fillBurst
			}
			for range burst {
				_, _ = conn.Write(payload) // no socket needs to receive them
			}
			select {
			case <-stop:
				return
			case <-time.After(pourPause):
			}
		}
	}()
	ended := false
	end = func() {
		if !ended {
			ended = true
			close(stop)
			<-done
		}
	}
	s.Cleanup(end)
	return end
}
