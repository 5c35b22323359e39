package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// The attack of TestMaxMemory, which is bounded in sessions, time and pings.
const (
	attackers   = 256
	attackTime  = 10 * time.Second
	attackBurst = 16 // pings
	attackPause = 100 * time.Millisecond
)

// startPingers opens sessions from several hosts, with the tokens in turn, each of which pings the server and reads nothing. over is
// closed when the pinging is over; the sessions last until ctx ends.
func startPingers(ctx context.Context, t *testing.T, from []*lab.Host, tokens []string, server string) (over <-chan struct{}) {
	t.Helper()
	for _, h := range from {
		h.Sysctl("net.ipv4.tcp_rmem", "4096 8192 8192") //nolint:contextcheck // a lab has its own; what the server sends shall wait at the server
	}
	sessions := make([]*stranger, attackers)
	for i := range sessions {
		sessions[i] = dialStrangerAs(t, from[i%len(from)], tokens[i%len(tokens)], "ip") //nolint:contextcheck // its connection ends with ctx, below
		context.AfterFunc(ctx, func() { _ = sessions[i].conn.Close() })
	}
	var all sync.WaitGroup
	for _, s := range sessions {
		pings := bytes.Repeat(wsFrame(0x82, echoRequest(t, s.address, server, 1300)), attackBurst)
		all.Go(func() {
			pause(ctx, rand.N(attackPause)) // not all at once
			for begin := time.Now(); time.Since(begin) < attackTime && s.write(pings); {
				pause(ctx, attackPause)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		all.Wait()
	}()
	return done
}

// peakMemory follows a program's memory until stop is called, which returns the most of it in bytes.
func peakMemory(t *testing.T, p *lab.Proc) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var peak atomic.Int64
	var all sync.WaitGroup
	all.Go(func() {
		for ; ctx.Err() == nil; pause(ctx, 50*time.Millisecond) {
			peak.Store(max(peak.Load(), int64(memory(t, p))))
		}
	})
	return func() int {
		cancel()
		all.Wait()
		return int(peak.Load())
	}
}

// TestMaxMemory has many sessions ping the server and not read, of one token each and all of one: with --max-memory 256M it takes
// 300 MiB at most, and less than 100 MiB ten seconds after they have gone. Meanwhile another client goes on.
func TestMaxMemory(t *testing.T) {
	t.Run("one token", func(t *testing.T) { testMaxMemory(t, 1) })
	t.Run("a token each", func(t *testing.T) { testMaxMemory(t, attackers) })
}

func testMaxMemory(t *testing.T, tokens int) {
	server, clients := star(t, 4)
	bin := plainBuild(t)
	state := t.TempDir()
	all := []string{token}
	for len(all) < tokens {
		out := server.Run(string(bin), "token", "create", "--state", state, fmt.Sprint("t", len(all)))
		all = append(all, strings.TrimSpace(out))
	}
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", state, "--network", "10.1.0.0/20", "--max-memory", "256M", "--max-sessions", "0")
	srv.WaitFor("listening on ", soon)
	good := bin.connect(t, clients[0], directURL)
	x := startExchange(t, clients[0], server, "10.1.0.1")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	peak := peakMemory(t, srv)
	<-startPingers(ctx, t, clients[1:], all, "10.1.0.1")
	x.flows(soon)
	if n := peak(); n > 300<<20 {
		t.Errorf("the server took %d MiB", n>>20)
	} else {
		t.Logf("the server took %d MiB at most", n>>20)
	}
	leave()
	pause(t.Context(), 10*time.Second)
	if n := memory(t, srv); n > 100<<20 {
		t.Errorf("the server takes %d MiB after", n>>20)
	} else {
		t.Logf("the server takes %d MiB after", n>>20)
	}
	x.finish()
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the good client lost its connection:\n%s", good.Stderr())
	}
	stop(t, srv)
	if log := srv.Stderr(); !regexp.MustCompile(`drops\.memory=[1-9]`).MatchString(log) || strings.Count(log, "memory is short") != 1 ||
		!strings.Contains(log, "KiB in ") {
		t.Errorf("the log says nothing, or too much, of what was dropped:\n%s", log[max(0, len(log)-2000):])
	}
}
