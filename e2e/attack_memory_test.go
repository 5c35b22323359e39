package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// attackAfter is how long memory may stay allocated after an attack. The promise is 10 s; a busy
// machine may need longer.
const attackAfter = 20 * time.Second

// peakMemory samples a program's memory until stop is called, which returns the maximum in bytes.
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

// Many sessions send to the server, or to each other, without reading. With --max-memory 256M the
// server uses at most 300 MiB, and less than 100 MiB soon after they have left. Meanwhile another
// client goes on.
func TestMaxMemory(t *testing.T) {
	for _, load := range sample(t, 2, memoryLoads()) {
		t.Run(load.name, func(t *testing.T) { testMaxMemory(t, load) })
	}
}

func testMaxMemory(t *testing.T, load memoryLoad) {
	server, clients := star(t, 4)
	bin := plainBuild(t)
	state := t.TempDir()
	var all []string // the load's tokens; the good client has its own, and so its own turns
	for len(all) < load.tokens {
		out := server.Run(string(bin), "token", "create", "--state", state,
			fmt.Sprint("t", len(all)))
		all = append(all, strings.TrimSpace(out))
	}
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", state, "--network",
		"10.1.0.0/20",
		"--client-to-client", "--max-memory", "256M", "--max-sessions", "0")
	srv.WaitFor("listening on ", soon)
	good := bin.connect(t, clients[0], directURL)
	x := startExchange(t, clients[0], server, "10.1.0.1")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	peak := peakMemory(t, srv)
	<-startLoad(ctx, t, clients[1:], all, load)
	x.flows(soon)
	if n := peak(); n > 300<<20 {
		t.Errorf("the server took %d MiB", n>>20)
	} else {
		t.Logf("the server took %d MiB at most", n>>20)
	}
	leave()
	left := time.Now()
	for memory(t, srv) > 100<<20 && time.Since(left) < attackAfter {
		pause(t.Context(), 100*time.Millisecond)
	}
	if n := memory(t, srv); n > 100<<20 {
		t.Errorf("the server takes %d MiB %v after", n>>20, time.Since(left))
	} else {
		t.Logf("the server takes %d MiB %v after", n>>20, time.Since(left))
	}
	x.finish()
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the good client lost its connection:\n%s", good.Stderr())
	}
	stop(t, srv)
	log := srv.Stderr()
	dropped := regexp.MustCompile(`drops\.memory=[1-9]`).MatchString(log)
	// A busy machine may have stopped reading the others before they fill the queues.
	if dropped != (strings.Count(log, "memory is short") == 1) ||
		dropped != strings.Contains(log, "KiB in ") {
		t.Errorf("the log says nothing, or too much, of what was dropped:\n%s",
			log[max(0, len(log)-2000):])
	}
}
