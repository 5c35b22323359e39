package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// signalGroup sends random signals to a program's process group until the program has ended, as
// repeated Ctrl-C does, or `timeout` and a shell that end together.
func signalGroup(r *rand.Rand, proc *lab.Proc, signals ...syscall.Signal) {
	for until := time.Now().Add(soon); !proc.Exited() && time.Now().Before(until); {
		_ = syscall.Kill(-proc.Pid(), signals[r.IntN(len(signals))]) // it may have ended
		pauseFor(r, 4*time.Millisecond)
	}
}

// Bursts of signals to the process group, at random times after the first change of the machine,
// end clients and servers cleanly.
func TestSignalsToGroup(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	server, client, _ := routed(t)
	before, serverBefore := tables(t, client), tables(t, server)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	all := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} // it ends no run here
	end := func(what string, proc *lab.Proc) {
		signalGroup(r, proc, all...)
		if code := proc.Wait(soon); code != 0 || strings.Contains(proc.Stderr(), "undo ") {
			t.Errorf("%s: exit code %d\n%s", what, code, proc.Stderr())
		}
	}
	for round := range 10 {
		cl := bin.startConnect(t, client, routedURL)
		if round%2 == 0 {
			cl.WaitFor("up: ", soon)
		} else {
			cl.WaitFor("msg=run ", soon)
			pauseFor(r, 200*time.Millisecond)
		}
		end(fmt.Sprint("client ", round), cl)
		untouched(t, client, before)
	}
	end("server", srv)
	untouched(t, server, serverBefore)
}
