package e2e

import (
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// The clocks of the server and of clients jump years ahead and back during a transfer. No session
// takes the jump for elapsed time, new clients connect, and once the clocks are right again every
// client has its address, also those that connected under the wrong time.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 4)
	bin := plainBuild(t)
	const interval = time.Second
	const year = 365 * 24 * time.Hour
	serverState, states := t.TempDir(), []string{t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()}
	serve := func() *lab.Proc {
		return bin.serve(t, server, "--plain", "--ping-interval", interval.String(), "--state",
			serverState)
	}
	srv := serve()
	cl := bin.connect(t, clients[0], directURL, "--state", states[0])
	// a session with little traffic
	idle := bin.connect(t, clients[1], directURL, "--state", states[1])
	x := startExchange(t, clients[0], server, "10.1.1.1")
	now := time.Now().UTC()
	var d time.Duration
	all := []*lab.Proc{cl, idle}
	for i := range 6 {
		x.flows(soon)
		d = time.Duration(2-4*(i%2)) * year
		jump(t, srv, d)
		jump(t, cl, -d)
		jump(t, idle, -d)
		time.Sleep(2 * interval) // wrong timers would report now that the other side is silent
		x.flows(soon)
		if i < 4 {
			continue
		}
		late := bin.connect(t, clients[i-2], directURL, "--state", states[i-2])
		all = append(all, late)
		reaches(t, clients[i-2], "10.1.1.1")
		if got, want := yearOf(t, srv), now.Add(d).Year(); got != want {
			t.Fatalf("the server's log says the year %d, want %d: its clock did not jump", got,
				want)
		}
	}
	for _, proc := range []*lab.Proc{cl, idle} {
		if n := len(stdoutLines(proc, "down: ")); n > 0 {
			t.Errorf("a client lost its connection:\n%s", proc.Stderr())
		}
	}

	stop(t, srv) // The server stores idle times by its wrong clock.
	serve()
	x.flows(2 * soon)
	x.finish()
	if got, want := yearOf(t, cl), now.Add(-d).Year(); got != want {
		t.Fatalf("the client's log says the year %d, want %d: its clock did not jump", got, want)
	}
	for _, proc := range all {
		proc.WaitForNth("up: ", 2, soon)
		if ups := stdoutLines(proc, "up: "); ups[0] != ups[1] {
			t.Errorf("a client came back differently: %q", ups)
		}
	}
}
