package e2e

import (
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// TestClockJumps makes the clock of the server and of a client jump years ahead and years back under a transfer: nothing
// takes that for a time that has passed. New clients come in meanwhile, and when the clock is right again everybody has
// the address of before, also those who came while it was wrong.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := plainBuild(t)
	const interval = time.Second
	const year = 365 * 24 * time.Hour
	serverState, states := t.TempDir(), []string{t.TempDir(), t.TempDir(), t.TempDir()}
	serve := func() *lab.Proc {
		return bin.serve(t, server, "--plain", "--ping-interval", interval.String(), "--state", serverState)
	}
	srv := serve()
	cl := bin.connect(t, clients[0], directURL, "--state", states[0])
	x := startExchange(t, clients[0], server, "10.1.1.1")
	now := time.Now().UTC()
	var late []*lab.Proc
	for i, d := range []time.Duration{2 * year, -2 * year} {
		x.flows(soon)
		jump(t, srv, d)
		jump(t, cl, -d)
		time.Sleep(3 * interval) // whoever counts wrong says now that the other side is silent
		x.flows(soon)
		late = append(late, bin.connect(t, clients[i+1], directURL, "--state", states[i+1]))
		reaches(t, clients[i+1], "10.1.1.1")
		if got, want := yearOf(t, srv), now.Add(d).Year(); got != want {
			t.Fatalf("the server's log says the year %d, want %d: its clock did not jump", got, want)
		}
	}
	if n := len(stdoutLines(cl, "down: ")); n > 0 {
		t.Errorf("the client lost its connection:\n%s", cl.Stderr())
	}

	stop(t, srv) // which writes down, with its wrong clock, since when nobody uses what
	serve()
	x.flows(2 * soon)
	x.finish()
	if got, want := yearOf(t, cl), now.Add(2*year).Year(); got != want {
		t.Fatalf("the client's log says the year %d, want %d: its clock did not jump", got, want)
	}
	for _, proc := range append(late, cl) {
		proc.WaitForNth("up: ", 2, soon)
		if ups := stdoutLines(proc, "up: "); ups[0] != ups[1] {
			t.Errorf("a client came back differently: %q", ups)
		}
	}
}
