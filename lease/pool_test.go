package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/state"
)

// A clock is a time that the test sets.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

// open opens the Pool of a file, with a clock that stands still.
func open(t *testing.T, path, network string) *Pool {
	t.Helper()
	return openAt(t, path, network, &clock{time.Now()})
}

func openAt(t *testing.T, path, network string, c *clock) *Pool {
	t.Helper()
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(file.Bucket("leases"), netip.MustParsePrefix(network),
		Options{Now: func() time.Time { return c.now }})
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceValue(func() error { return errors.Join(p.Close(), file.Close()) })
	crash := sync.OnceValue(file.Close)
	closers[p], crashes[p], clocks[p] = shut, crash, c
	t.Cleanup(func() { _ = shut(); _ = crash() })
	return p
}

var (
	closers = map[*Pool]func() error{} // how to close a pool together with its file
	crashes = map[*Pool]func() error{} // how to close the file alone
	clocks  = map[*Pool]*clock{}
	leases  = map[*Pool]map[Holder]*Lease{} // that are in use
)

// machine is a holder that shares its token with others.
func machine(name string) Holder { return Holder{Token: "flag", Machine: name} }

// get acquires and keeps a lease.
func get(p *Pool, ask Ask) (*Lease, error) {
	if ask.Rest == 0 {
		ask.Rest = Rest
	}
	l, err := p.Acquire(ask)
	if err != nil {
		return nil, err
	}
	if leases[p] == nil {
		leases[p] = map[Holder]*Lease{}
	}
	if old := leases[p][ask.Who]; old != nil { // as a newer connection that replaces one
		defer p.Release(old)
	}
	leases[p][ask.Who] = l
	return l, p.Keep(l)
}

func release(p *Pool, who Holder) {
	p.Release(leases[p][who])
	delete(leases[p], who)
}

func acquire(t *testing.T, p *Pool, holder, want, expect string) {
	t.Helper()
	acquireAs(t, p, machine(holder), want, expect)
}

func acquireAs(t *testing.T, p *Pool, who Holder, want, expect string) {
	t.Helper()
	a, _ := netip.ParseAddr(want)
	l, err := get(p, Ask{Who: who, Want: a})
	if err != nil || l.Local.String() != expect || l.Peer != l.Local.Next() {
		t.Errorf("Acquire(%s, %q) = %v, %v; want %s", who, want, l, err, expect)
	}
}

// full checks that there is nothing for a holder now.
func full(t *testing.T, p *Pool, who Holder, says string) {
	t.Helper()
	l, err := get(p, Ask{Who: who})
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s got %v, %v; want ErrFull with %q", who, l, err, says)
	}
}

func TestPoolOrder(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	if s := p.Server(); s.Local.String() != "10.1.1.1" || s.Peer.String() != "10.1.1.2" {
		t.Errorf("server's pair %v", s)
	}
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	acquire(t, p, "c", "10.1.1.201", "10.1.1.201")
	acquire(t, p, "d", "10.1.1.201", "10.1.1.7") // taken: the next free one
	acquire(t, p, "e", "10.1.1.1", "10.1.1.9")   // the server's
	acquire(t, p, "f", "10.1.1.4", "10.1.1.11")  // a peer's address, not a local one
	acquire(t, p, "g", "10.1.1.255", "10.1.1.13")
	acquire(t, p, "h", "192.168.7.7", "10.1.1.15")
	release(p, machine("a"))
	acquire(t, p, "i", "", "10.1.1.17") // a's is kept for a
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "a", "10.1.1.99", "10.1.1.99") // moves on request
	acquire(t, p, "j", "", "10.1.1.19")          // and what it had rests
}

// An address in use is taken, and so is one that rests.
func TestTaken(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "", "10.1.1.5")
	release(p, machine("a"))
	for pass, want := range []int{2, 1} {
		if got := p.Taken(); got != want {
			t.Errorf("%d: %d are taken, want %d", pass, got, want)
		}
		clocks[p].pass(Rest)
	}
}

// All 126 pairs of a /24 go out, the next one is refused, and the one idle longest gives way, never
// a live one.
func TestPoolFull(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	seen := map[netip.Addr]bool{}
	for i := range 126 {
		pair, err := get(p, Ask{Who: machine(fmt.Sprint(i))})
		if err != nil || seen[pair.Local] || pair.Inherited ||
			pair.Peer == netip.MustParseAddr("10.1.1.255") {
			t.Fatalf("client %d: %v, %v", i, pair, err)
		}
		seen[pair.Local] = true
	}
	full(t, p, machine("one too many"), "no free address pair in 10.1.1.0/24")
	release(p, machine("7"))
	clocks[p].pass(time.Minute)
	release(p, machine("3"))
	full(t, p, machine("newcomer"), "the next one in 2m0s at the earliest")
	clocks[p].pass(Rest)
	acquire(t, p, "newcomer", "", "10.1.1.17") // 7's
	if !leases[p][machine("newcomer")].Inherited {
		t.Error("nobody is told that another had the pair")
	}
	acquire(t, p, "another", "", "10.1.1.9") // 3's
	full(t, p, machine("7"), "no free address pair")
}

func TestNetworks(t *testing.T) {
	for network, clients := range map[string]int{"10.1.1.0/29": 2, "10.1.1.8/29": 2,
		"10.1.0.0/28": 6} {
		p := open(t, filepath.Join(t.TempDir(), "db"), network)
		for i := range clients {
			pair, err := get(p, Ask{Who: machine(fmt.Sprint(i))})
			if err != nil || !p.Network().Contains(pair.Peer) {
				t.Errorf("%s, client %d: %v, %v", network, i, pair, err)
			}
		}
		full(t, p, machine("x"), network)
	}
	for _, network := range []string{"10.1.1.0/30", "10.1.1.1/24", "10.1.1.1/32", "fd00::/64",
		"0.0.0.0/0"} {
		if _, err := Open(nil, netip.MustParsePrefix(network), Options{}); !errors.Is(err,
			ErrNetwork) {
			t.Errorf("%s: %v; want ErrNetwork", network, err)
		}
	}
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.0.0/16")
	acquire(t, p, "far", "10.1.255.253", "10.1.255.253")
	for i := range 200 {
		if _, err := get(p, Ask{Who: machine(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	acquire(t, p, "next", "", "10.1.1.147")
}

func TestPoolRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/24")
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "b", "10.1.1.77", "10.1.1.77")
	if err := closers[p](); err != nil {
		t.Fatal(err)
	}
	p = open(t, path, "10.1.1.0/24")
	acquire(t, p, "c", "", "10.1.1.5")
	acquire(t, p, "b", "", "10.1.1.77")
	acquire(t, p, "a", "", "10.1.1.3")
	if err := closers[p](); err != nil {
		t.Fatal(err)
	}
	// Another network: leases of the old one are no use.
	p = open(t, path, "10.9.0.0/24")
	acquire(t, p, "b", "", "10.9.0.3")
}

// The same session with another token is another client, and a token that is one client needs no
// session.
func TestHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/24")
	get := func(h Holder, want string) { t.Helper(); acquireAs(t, p, h, "", want) }
	get(Holder{"t1", "s"}, "10.1.1.3")
	get(Holder{"t2", "s"}, "10.1.1.5")
	get(Holder{"t1", ""}, "10.1.1.7")
	get(Holder{"t", "1s"}, "10.1.1.9")
	release(p, Holder{"t1", "s"})
	get(Holder{"t1", "s"}, "10.1.1.3")
	if err := closers[p](); err != nil {
		t.Fatal(err)
	}
	p = openAt(t, path, "10.1.1.0/28", clocks[p])
	get(Holder{"t2", "s"}, "10.1.1.5")
	get(Holder{"new", "s"}, "10.1.1.11")
	get(Holder{"other", "s"}, "10.1.1.13")
	// t1 is revoked: what it held is nobody's, and rests; t2 keeps its own.
	p.End(func(token string) bool { return token == "t1" })
	full(t, p, Holder{"next", "s"}, "3m0s")
	clocks[p].pass(Rest)
	get(Holder{"next", "s"}, "10.1.1.3") // before 10.1.1.9, whose holder may come back
	p.End(func(token string) bool { return token == "t2" })
	get(Holder{"more", "s"}, "10.1.1.7") // t2's is live until it is released
	get(Holder{"even more", "s"}, "10.1.1.9")
	release(p, Holder{"t2", "s"})
	full(t, p, Holder{"most", "s"}, "3m0s")
	clocks[p].pass(Rest)
	get(Holder{"most", "s"}, "10.1.1.5")
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/28") // 6 clients: .3 to .13
	nine, eleven := netip.MustParseAddr("10.1.1.9"), netip.MustParseAddr("10.1.1.11")
	acquire(t, p, "old", "10.1.1.9", "10.1.1.9")
	acquire(t, p, "live", "10.1.1.11", "10.1.1.11")
	release(p, machine("old"))
	if !p.Live(eleven) || p.Live(nine) {
		t.Error("live is not who is")
	}
	for _, a := range []string{"10.1.1.1", "10.1.1.4", "10.1.1.15", "10.1.2.3", "fd00::3"} {
		if p.Fits(netip.MustParseAddr(a)) == nil {
			t.Errorf("%s fits", a)
		}
	}
	if err := p.Fits(nine); err != nil {
		t.Error(err)
	}
	p.Reserve(map[netip.Addr]string{nine: "server", eleven: "printer",
		netip.MustParseAddr("192.168.1.1"): "elsewhere"})
	acquire(t, p, "old", "10.1.1.9", "10.1.1.3")      // not any more
	full(t, p, Holder{Token: "printer"}, "10.1.1.11") // in use
	full(t, p, Holder{Token: "server"}, "10.1.1.9 was another client's: it changes hands in 3m0s")
	release(p, machine("live"))
	acquire(t, p, "live", "", "10.1.1.5")
	clocks[p].pass(Rest)
	for _, h := range []Holder{{Token: "printer"}, {Token: "server"}, {Token: "server"}} {
		want := map[string]string{"printer": "10.1.1.11", "server": "10.1.1.9"}[h.Token]
		acquireAs(t, p, h, "10.1.1.13", want)
	}
	// The pool is full: neither the reserved ones, idle or not, nor the live ones give way.
	release(p, Holder{Token: "printer"})
	release(p, Holder{Token: "server"})
	acquire(t, p, "a", "", "10.1.1.7")
	acquire(t, p, "b", "", "10.1.1.13")
	clocks[p].pass(DefaultHold)
	full(t, p, machine("c"), "10.1.1.0/28")
	release(p, machine("live"))
	clocks[p].pass(Rest)
	acquire(t, p, "c", "", "10.1.1.5")
	p.Reserve(nil)
	acquire(t, p, "d", "", "10.1.1.9")
	// Where there is room, too, a newcomer gets none of the reserved ones.
	p = open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	p.Reserve(map[netip.Addr]string{netip.MustParseAddr("10.1.1.3"): "server"})
	acquire(t, p, "x", "", "10.1.1.5")
}
