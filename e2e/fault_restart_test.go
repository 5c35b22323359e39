package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/bench/load"
	"tunnel/e2e/lab"
)

// A server with two hundred clients restarts, once by SIGKILL and once cleanly: all come back, each
// with its address, which no new client gets meanwhile, and the TCP connections of two of them
// survive.
func TestServerRestarted(t *testing.T) {
	t.Parallel()
	const many = 200
	server, clients := star(t, 3)
	bin := plainBuild(t)
	state := t.TempDir()
	serve := func() *lab.Proc {
		return bin.serve(t, server, "--plain", "--network", "10.1.0.0/22", "--state", state)
	}
	srv := serve()
	crowd := startCrowd(t, clients[2], "198.51.100.1%02d", directURL, many)
	var procs []*lab.Proc
	var transfers []*exchange
	for _, c := range clients[:2] {
		procs = append(procs, bin.connect(t, c, directURL))
		transfers = append(transfers, startExchange(t, c, server, "10.1.0.1"))
	}
	for restart, end := range []func(){srv.Kill, func() { stop(t, srv) }} {
		for _, x := range transfers {
			x.flows(soon)
		}
		for _, proc := range procs { // these come last, after a new client
			proc.Signal(syscall.SIGSTOP)
		}
		begin := time.Now()
		end()
		srv = serve()
		crowd.WaitFor(fmt.Sprintf("%s %d: ", load.AllUp, restart+2), 2*soon)
		t.Logf("restart %d: %d clients are back after %v", restart, many,
			time.Since(begin).Round(time.Millisecond))
		newcomer := dialRaw(t, clients[2], directURL)
		newcomer.connect()
		for _, proc := range procs {
			if strings.Contains(proc.Stdout(), "address "+newcomer.address+" ") {
				t.Errorf("restart %d: a newcomer gets %s, which is a client's that is not back yet",
					restart, newcomer.address)
			}
			proc.Signal(syscall.SIGCONT)
		}
		for _, x := range transfers {
			x.flows(2 * soon)
		}
		if moved := load.LastMoved(crowd.Stdout()); moved > 0 {
			t.Errorf("restart %d: %d clients came back with another address\n%s", restart, moved,
				crowd.Stdout())
		}
	}
	for i, x := range transfers {
		x.finish()
		if ups := stdoutLines(procs[i], "up: "); len(ups) != 3 || ups[0] != ups[1] ||
			ups[1] != ups[2] || !strings.Contains(ups[0], "address 10.1.") {
			t.Errorf("client %d says %q", i, ups)
		}
	}
}

// A second server on the state directory of a running one is refused and does no harm; when the
// first is killed, the directory is free.
func TestStateInUse(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	client, second := clients[0], clients[1]
	before := tables(t, second)
	bin := raceBuild(t)
	state := t.TempDir()
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s", "--state", state)
	cl := bin.connect(t, client, directURL)
	x := startExchange(t, client, server, "10.1.1.1")
	_, stderr, code := second.TryCommand(bin.command(second, "serve", "--plain", "--token", token,
		"--state", state, "--log-level", "error"))
	if code != 13 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
		"another server uses this state directory") {
		t.Errorf("exit code %d, want 13\n%s", code, stderr)
	}
	untouched(t, second, before)
	x.flows(soon)
	srv.Kill()
	bin.serve(t, server, "--plain", "--ping-interval", "1s", "--state", state)
	x.flows(2 * soon)
	x.finish()
	if ups := stdoutLines(cl, "up: "); len(ups) != 2 || ups[0] != ups[1] {
		t.Errorf("the client says %q", ups)
	}
}
