package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// Both sides are killed, twenty times in all, with -all fifty times, at random moments of a run or
// a start, and started again. A TCP connection between them survives, the client keeps its address,
// and no second route, address, device or journal is left.
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	for i := range 2 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			r := seeded(t)
			server, clients := star(t, 2)
			client := clients[0]
			bin := plainBuild(t)
			serverBefore, clientBefore := tables(t, server), tables(t, client)
			serverState, clientState := t.TempDir(), t.TempDir()
			serve := func() *lab.Proc {
				return bin.startServe(t, server, "--plain", "--ping-interval", "1s", "--state",
					serverState)
			}
			connect := func() *lab.Proc {
				return bin.startConnect(t, client, directURL, "--keep-trying", "--state",
					clientState)
			}
			srv := serve()
			srv.WaitFor("listening on ", soon)
			// So the client's address below is not the first of the pool.
			bin.connect(t, clients[1], directURL)
			cl := connect()
			up := cl.WaitFor("up: ", soon)
			if !strings.Contains(up, "address 10.1.1.5 ") {
				t.Fatalf("the client is %q", up)
			}
			serverWas, clientWas := tablesWithoutIndexes(t, server), tablesWithoutIndexes(t, client)
			x := startExchange(t, client, server, "10.1.1.1")

			var slowest time.Duration
			kills := [2]int{}
			servers := 0 // kills of the server in a row
			for round := range rounds(25) {
				pauseFor(r, 300*time.Millisecond)
				side := r.IntN(2)
				// The client's pauses grow while servers do not last.
				if servers++; side == 1 || servers > 3 {
					side, servers = 1, 0
				}
				victim, start := &srv, serve
				if side == 1 {
					victim, start = &cl, connect
				}
				index := device(client, "tun0")
				(*victim).Kill()
				for range r.IntN(3) { // more kills, during starts
					*victim = start()
					pauseFor(r, 150*time.Millisecond)
					(*victim).Kill()
					kills[side]++
				}
				*victim = start()
				kills[side]++
				srv.WaitFor("listening on ", soon)
				took := x.flows(2 * soon)
				slowest = max(slowest, took)
				if side == 0 && device(client, "tun0") != index {
					t.Errorf(
						"round %d: the client's device is another one since the server was killed",
						round)
				}
				for _, line := range stdoutLines(cl, "up: ") {
					if line != up {
						t.Errorf("round %d: the client came back as %q, was %q", round, line, up)
					}
				}
				for h, was := range map[*lab.Host]string{server: serverWas, client: clientWas} {
					if now := tablesWithoutIndexes(t, h); now != was {
						t.Errorf("round %d: the tables of %s are\n%s\nwere\n%s", round, h.Name(),
							now, was)
					}
					if files := journals(t, h); len(files) != 1 {
						t.Errorf("round %d: journals of %s: %q, want one", round, h.Name(), files)
					}
				}
				if t.Failed() {
					return
				}
			}
			x.finish()
			t.Logf("killed: the server %d times, the client %d times; the slowest return took %v",
				kills[0], kills[1], slowest)
			stop(t, cl)
			stop(t, srv)
			untouched(t, client, clientBefore)
			untouched(t, server, serverBefore)
		})
	}
}

// Either side is killed while it starts and while it stops, between its first instruction and its
// last step. The next start repairs what is left, without `tunnel cleanup`.
func TestKilledBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"server", "client"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			r := seeded(t)
			server, client, _ := routed(t)
			bin := plainBuild(t)
			state := t.TempDir()
			host, word := server, "listening on "
			start := func() *lab.Proc {
				return bin.startServe(t, server, "--plain", "--state", state)
			}
			if side == "client" {
				bin.serve(t, server, "--plain", "--ping-interval", "1s")
				host, word = client, "up: "
				start = func() *lab.Proc {
					return bin.startConnect(t, client, routedURL, "--state", state)
				}
			}
			before := tables(t, host)
			var was, said string
			for round := range rounds(15) {
				for range 3 {
					proc := start()
					pauseFor(r, 100*time.Millisecond)
					proc.Kill()
				}
				proc := start()
				line := proc.WaitFor(word, soon)
				if round == 0 {
					was, said = tablesWithoutIndexes(t, host), line
				}
				if now := tablesWithoutIndexes(t, host); now != was || line != said {
					t.Fatalf("round %d: %s and the tables\n%s\nwere %s and\n%s", round, line, now,
						said, was)
				}
				proc.Signal(syscall.SIGTERM)
				if round%2 == 0 { // the next start repairs a kill during the stop
					pauseFor(r, 60*time.Millisecond)
					proc.Kill()
					continue
				}
				if code := proc.Wait(soon); code != 0 {
					t.Errorf("exit code %d\n%s", code, proc.Stderr())
				}
				untouched(t, host, before)
			}
			proc := start()
			proc.WaitFor(word, soon)
			stop(t, proc)
			untouched(t, host, before)
		})
	}
}
