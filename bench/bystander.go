package main

import (
	"fmt"
	"os"
	"path/filepath"
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

// Of sessions that send pings and do not read the answers.
const (
	greedySessions = 256
	greedyMemory   = "256M"           // the server's --max-memory
	greedyAfter    = 10 * time.Second // after the sessions have ended
	sinkPort       = "8444"
)

// bystander measures what greedy sessions with a number of tokens cost another client in
// throughput, and the server in memory.
func (b *bench) bystander(tokens int) func(*scope.Scope, int, *contender.Tunnel) {
	return func(s *scope.Scope, round int, c *contender.Tunnel) { b.greedy(s, round, c, tokens) }
}

// greedy is bystander for one round.
func (b *bench) greedy(s *scope.Scope, round int, c *contender.Tunnel, tokens int) {
	l := lab.New(s)
	sw := l.Switch("switch")
	host := func(name string, number int) *lab.Host {
		h := s.Host(l, name)
		l.Attach(h, fmt.Sprintf("198.51.100.%d%s", number, contender.ClientMask), sw)
		return h
	}
	server, steady, from := host("server", 1), host("steady", 10), host("greedy", 20)
	state := b.shop.Temp(s)
	var texts []string
	for i := range tokens {
		texts = append(texts, strings.TrimSpace(server.Run(c.Program, "token", "create", "--state",
			state, fmt.Sprint("t", i))))
	}
	file := filepath.Join(b.shop.Temp(s), "tokens")
	s.Must(os.WriteFile(file, []byte(strings.Join(texts, "\n")), 0o600))
	proc := c.Serve(s, b.shop, server, state, "--network", "10.1.0.0/20", "--max-per-address", "0",
		"--max-memory", greedyMemory)
	inner := contender.AddressOn(s, server, "tun0")
	_, _ = c.Connect(s, b.shop, steady)
	contender.AwaitPing(s, steady, inner)
	from.Sysctl("net.ipv4.tcp_rmem", "4096 8192 8192") // so that the answers wait at the server
	self, err := os.Executable()
	s.Must(err)

	stream := func() float64 { return gauge.RunStream(s, steady, server, inner, b.seconds).Rate }
	// besideOn measures the stream beside the sessions on a port, which is the sink's without tokens.
	besideOn := func(port, tokens string) float64 {
		greedy := from.Start(self, hostile.Command, "-kind", hostile.Greedy, "-target",
			contender.ServerAddr+":"+port,
			"-tokens", tokens, "-sessions", strconv.Itoa(greedySessions), "-gateway", inner)
		greedy.WaitFor(hostile.AllIn, scope.Soon)
		s.Sleep(time.Second)
		used := b.processors(s, c.Name()+", port "+port, from, server, steady)
		rate := stream()
		used()
		if greedy.Exited() {
			s.Fatalf("the greedy sessions ended: %s", greedy.Stderr())
		}
		contender.Stop(greedy)
		return rate
	}
	besideSink := func() float64 {
		sink := server.Start(self, hostile.Command, "-kind", hostile.Read, "-target", ":"+sinkPort)
		sink.WaitFor(hostile.Listening, scope.Soon)
		defer contender.Stop(sink)
		return besideOn(sinkPort, "")
	}
	var after float64
	beside := func() float64 {
		rate := besideOn(contender.TunnelPort, file)
		s.Sleep(greedyAfter)
		rss, err := gauge.Resident(proc.Worker())
		s.Must(err)
		after = max(after, rss/1024)
		return rate
	}
	without, means := inTurns(stream, besideSink, beside)
	sink, with := means[0], means[1]
	peak, err := gauge.PeakResident(proc.Worker())
	s.Must(err)
	b.say("%s: %s Gbit/s, %s beside a sink for the load of %d greedy sessions, %s beside them with "+
		"%d tokens", c.Name(), report.Short(without/1e9), report.Short(sink/1e9), greedySessions,
		report.Short(with/1e9), tokens)
	b.add(round, greedyFigure(tokens, figGreedyServer), c.Name(), with/sink)
	b.add(round, greedyFigure(tokens, figGreedyStream), c.Name(), with/without)
	b.add(round, greedyFigure(tokens, figGreedyPeak), c.Name(), peak/1024)
	b.add(round, greedyFigure(tokens, figGreedyAfter), c.Name(), after)
}

// greedyFigure returns the id of a figure of greedy sessions with a number of tokens.
func greedyFigure(tokens int, what string) string {
	return fmt.Sprintf("greedy%d-%s", tokens, what)
}
