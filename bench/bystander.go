package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// Of sessions that send pings and do not read the answers.
const (
	greedySessions = 256
	greedyMemory   = "256M"           // the server's --max-memory
	greedyAfter    = 10 * time.Second // after which the server has given memory back
)

// bystander measures what greedy sessions cost another client, and how much memory they cost the
// server: with a token each, and all with one.
func (b *bench) bystander(s *scope, round int, c *tunnel) {
	for _, tokens := range []int{greedySessions, 1} {
		err := within(s.ctx, fmt.Sprintf("%s, %d tokens", s.name, tokens), s.logf, func(s *scope) { b.greedy(s, round, c, tokens) })
		s.must(err)
	}
}

// greedy measures greedy sessions that share so many tokens.
func (b *bench) greedy(s *scope, round int, c *tunnel, tokens int) {
	l := lab.New(s)
	sw := l.Switch("switch")
	host := func(name string, number int) *lab.Host {
		h := s.host(l, name)
		l.Attach(h, fmt.Sprintf("198.51.100.%d%s", number, clientMask), sw)
		return h
	}
	server, steady, from := host("server", 1), host("steady", 10), host("greedy", 20)
	state := b.shop.temp(s)
	var texts []string
	for i := range tokens {
		texts = append(texts, strings.TrimSpace(server.Run(c.program, "token", "create", "--state", state, fmt.Sprint("t", i))))
	}
	file := filepath.Join(b.shop.temp(s), "tokens")
	s.must(os.WriteFile(file, []byte(strings.Join(texts, "\n")), 0o600))
	proc := c.serve(s, b.shop, server, state, "--network", "10.1.0.0/20", "--max-per-address", "0", "--max-memory", greedyMemory)
	inner := addressOn(s, server, "tun0")
	_, _ = c.connect(s, b.shop, steady)
	awaitPing(s, steady, inner)
	from.Sysctl("net.ipv4.tcp_rmem", "4096 8192 8192") // what the server sends waits at the server
	self, err := os.Executable()
	s.must(err)

	var after float64
	stream := func() float64 { return runStream(s, steady, server, inner, b.seconds).rate }
	beside := func() float64 {
		greedy := from.Start(self, hostile.Command, "-kind", hostile.Greedy, "-target", serverAddr+":"+tunnelPort,
			"-tokens", file, "-sessions", strconv.Itoa(greedySessions), "-gateway", inner)
		greedy.WaitFor(hostile.AllIn, soon)
		s.sleep(time.Second)
		rate := stream()
		if greedy.Exited() {
			s.Fatalf("the greedy sessions ended: %s", greedy.Stderr())
		}
		stop(greedy)
		s.sleep(greedyAfter)
		rss, err := resident(proc.Worker())
		s.must(err)
		after = max(after, rss/1024)
		return rate
	}
	without, with := inTurns(stream, beside)
	peak, err := peakResident(proc.Worker())
	s.must(err)
	b.say("%s: %s Gbit/s, %s beside %d greedy sessions with %d tokens", c.name(), short(without/1e9), short(with/1e9), greedySessions, tokens)
	b.add(round, greedyFigure(tokens, figGreedyStream), c.name(), with/without)
	b.add(round, greedyFigure(tokens, figGreedyPeak), c.name(), peak/1024)
	b.add(round, greedyFigure(tokens, figGreedyAfter), c.name(), after)
}

// greedyFigure is the id of a figure of greedy sessions that share so many tokens.
func greedyFigure(tokens int, what string) string { return fmt.Sprintf("greedy%d-%s", tokens, what) }
