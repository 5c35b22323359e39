package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// soak is a server with clients, each with a transfer across the tunnel.
type soak struct {
	t       *testing.T
	r       *rand.Rand
	bin     program
	sw      *lab.Host
	server  *lab.Host
	clients []*lab.Host
	spare   *lab.Host // for hostile clients

	state     string // the server's state directory
	states    []string
	srv       *lab.Proc
	cls       []*lab.Proc
	ups       []string // each client's first up line
	was       map[*lab.Host]string
	transfers []*exchange
}

// A server and its clients, with the race detector, get the faults of all other tests in random
// order. After each fault everything is as before, and the first TCP connections last until the
// end.
func TestSoakFaults(t *testing.T) {
	t.Parallel()
	s := &soak{t: t, r: seeded(t), bin: raceBuild(t), state: t.TempDir(),
		was: map[*lab.Host]string{}}
	var hosts []*lab.Host
	s.server, hosts, s.sw = switched(t, 4)
	s.clients, s.spare = hosts[:3], hosts[3]
	s.serve()
	for i, c := range s.clients {
		s.states = append(s.states, t.TempDir())
		s.cls = append(s.cls, nil)
		s.connect(i)
		s.ups = append(s.ups, s.cls[i].WaitFor("up: ", soon))
		s.was[c] = tablesWithoutIndexes(t, c)
		s.transfers = append(s.transfers, startExchange(t, c, s.server, "10.1.0.1"))
	}
	s.was[s.server] = tablesWithoutIndexes(t, s.server)
	s.healed("the start")

	faults := s.faults()
	names := slices.Sorted(maps.Keys(faults))
	tried := map[string]int{}
	var slowest time.Duration
	var slowestName string
	for begin := time.Now(); time.Since(begin) < *soakTime; {
		name := names[s.r.IntN(len(names))]
		faults[name]()
		tried[name]++
		if took := s.healed(name); took > slowest {
			slowest, slowestName = took, name
		}
		if t.Failed() {
			break
		}
	}
	var moved int64
	for _, x := range s.transfers {
		x.finish()
		moved += x.received()
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(tried)) {
		fmt.Fprintf(&text, "\n  %3d × %s", tried[name], name)
	}
	t.Logf("tried:%s\nlost: of %d MB in %d connections, nothing; the slowest return, after %q, "+
		"took %v",
		&text, moved>>20, len(s.transfers), slowestName, slowest.Round(time.Millisecond))
}

func (s *soak) serve() {
	s.srv = s.bin.startServe(s.t, s.server, "--plain", "--network", "10.1.0.0/19",
		"--ping-interval", "1s", "--state", s.state)
	s.srv.WaitFor("listening on ", soon)
}

func (s *soak) connect(i int) {
	s.cls[i] = s.bin.startConnect(s.t, s.clients[i], directURL, "--keep-trying", "--state",
		s.states[i])
}

// healed waits until all transfers go on, checks that nothing is left of the fault, and returns how
// long that took.
func (s *soak) healed(name string) time.Duration {
	s.t.Helper()
	begin := time.Now()
	for _, x := range s.transfers {
		x.flows(reconnectLimit)
	}
	took := time.Since(begin)
	for h, was := range s.was {
		if now := tablesWithoutIndexes(s.t, h); now != was {
			s.t.Errorf("%s: the tables of %s are\n%s\nwere\n%s", name, h.Name(), now, was)
		}
		if files := journals(s.t, h); len(files) != 1 {
			s.t.Errorf("%s: journals of %s: %q, want one", name, h.Name(), files)
		}
	}
	for i, cl := range s.cls {
		if lines := stdoutLines(cl, "up: "); len(lines) == 0 || lines[len(lines)-1] != s.ups[i] {
			s.t.Errorf("%s: client %d is up as %q, was %q", name, i, lines, s.ups[i])
		}
	}
	return took
}

// faults returns the faults by name.
func (s *soak) faults() map[string]func() {
	t, r := s.t, s.r
	one := func() int { return r.IntN(len(s.clients)) }
	frozen := func(p *lab.Proc) {
		p.Signal(syscall.SIGSTOP)
		pauseFor(r, 4*time.Second)
		p.Signal(syscall.SIGCONT)
	}
	return map[string]func(){
		"server killed": func() { s.srv.Kill(); s.serve() },
		"server killed while it starts": func() {
			s.srv.Kill()
			p := s.bin.startServe(t, s.server, "--plain", "--network", "10.1.0.0/19",
				"--ping-interval", "1s", "--state", s.state)
			pauseFor(r, 500*time.Millisecond)
			p.Kill()
			s.serve()
		},
		"server stopped": func() { stop(t, s.srv); s.serve() },
		"server frozen":  func() { frozen(s.srv) },
		"client killed":  func() { i := one(); s.cls[i].Kill(); s.connect(i) },
		"client killed while it starts": func() {
			i := one()
			s.cls[i].Kill()
			s.connect(i)
			pauseFor(r, 500*time.Millisecond)
			s.cls[i].Kill()
			s.connect(i)
		},
		"client stopped": func() { i := one(); stop(t, s.cls[i]); s.connect(i) },
		"client frozen":  func() { frozen(s.cls[one()]) },
		"connections cut": func() {
			s.clients[one()].Run("ss", "-K", "dst", directServer, "dport", "=", "8443")
		},
		"cable out": func() {
			port := fmt.Sprintf("eth%d", 1+one())
			s.sw.Run("ip", "link", "set", "dev", port, "down")
			pauseFor(r, 4*time.Second)
			s.sw.Run("ip", "link", "set", "dev", port, "up")
		},
		"black hole": func() {
			rule := []string{"iifname", "oifname"}[r.IntN(2)] + fmt.Sprintf(` "eth%d"`,
				r.IntN(1+len(s.clients)))
			restore := blackHole(t, s.sw, rule)
			pauseFor(r, 5*time.Second)
			restore()
		},
		"hostile frames": func() {
			for range 3 {
				all := frameAttacks(addressOf(0))
				h := all[r.IntN(len(all))]
				c := dialSession(t, s.spare, "ip")
				h.do(r, c)
				_ = c.conn.Close()
			}
			vnetNoise(r, dialSession(t, s.spare, "vnet"))
		},
		"a client that reads nothing": func() {
			c := dialSession(t, s.spare, "ip")
			flood(t, s.server, c.address)
			_ = c.conn.Close()
		},
		"many clients come and go": func() {
			startCrowd(t, s.spare, "198.51.100.1%02d", directURL, 40).Kill()
		},
		"second server on the state": func() {
			cmd := s.bin.command(s.spare, "serve", "--plain", "--token", token, "--state", s.state)
			if _, stderr, code := s.spare.TryCommand(cmd); code != 13 {
				t.Errorf("a second server: exit code %d\n%s", code, stderr)
			}
		},
		"clock jumps": func() {
			procs := append([]*lab.Proc{s.srv}, s.cls...)
			jump(t, procs[r.IntN(len(procs))], time.Duration(r.IntN(60)-30)*24*365*time.Hour)
		},
	}
}
