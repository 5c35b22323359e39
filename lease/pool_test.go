package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tunnel/state"
)

func open(t *testing.T, path, network string) *Pool {
	t.Helper()
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(file.Bucket("leases"), netip.MustParsePrefix(network))
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceValue(func() error { return errors.Join(p.Close(), file.Close()) })
	closers[p] = shut
	t.Cleanup(func() { _ = shut() })
	return p
}

// closers has how to close a pool together with its file.
var closers = map[*Pool]func() error{}

// machine is a holder that shares its token with others.
func machine(name string) Holder { return Holder{Token: "flag", Machine: name} }

func acquire(t *testing.T, p *Pool, holder, want, expect string) {
	t.Helper()
	a, _ := netip.ParseAddr(want)
	pair, err := p.Acquire(machine(holder), a)
	if err != nil || pair.Local.String() != expect || pair.Peer != pair.Local.Next() {
		t.Errorf("Acquire(%s, %q) = %v, %v; want %s", holder, want, pair, err, expect)
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
	p.Release(machine("a"))
	acquire(t, p, "i", "", "10.1.1.17") // a's is kept for a
	acquire(t, p, "a", "", "10.1.1.3")
	acquire(t, p, "a", "10.1.1.99", "10.1.1.99") // moves on request
	acquire(t, p, "j", "", "10.1.1.3")
}

// All 126 pairs of a /24 go out, the next one is refused, and the one idle longest gives way, never a live one.
func TestPoolFull(t *testing.T) {
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	seen := map[netip.Addr]bool{}
	for i := range 126 {
		pair, err := p.Acquire(machine(fmt.Sprint(i)), netip.Addr{})
		if err != nil || seen[pair.Local] || pair.Peer == netip.MustParseAddr("10.1.1.255") {
			t.Fatalf("client %d: %v, %v", i, pair, err)
		}
		seen[pair.Local] = true
	}
	if _, err := p.Acquire(machine("one too many"), netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Fatalf("client 127: %v; want ErrFull", err)
	}
	p.Release(machine("7"))
	time.Sleep(time.Millisecond)
	p.Release(machine("3"))
	acquire(t, p, "newcomer", "", "10.1.1.17") // 7's
	acquire(t, p, "another", "", "10.1.1.9")   // 3's
	if _, err := p.Acquire(machine("7"), netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Errorf("the old holder of a pair that is live elsewhere: %v; want ErrFull", err)
	}
}

func TestNetworks(t *testing.T) {
	for network, clients := range map[string]int{"10.1.1.0/29": 2, "10.1.1.8/29": 2, "10.1.0.0/28": 6} {
		p := open(t, filepath.Join(t.TempDir(), "db"), network)
		for i := range clients {
			pair, err := p.Acquire(machine(fmt.Sprint(i)), netip.Addr{})
			if err != nil || !p.Network().Contains(pair.Peer) {
				t.Errorf("%s, client %d: %v, %v", network, i, pair, err)
			}
		}
		if _, err := p.Acquire(machine("x"), netip.Addr{}); !errors.Is(err, ErrFull) {
			t.Errorf("%s, client %d: %v; want ErrFull", network, clients, err)
		}
	}
	for _, network := range []string{"10.1.1.0/30", "10.1.1.1/24", "10.1.1.1/32", "fd00::/64", "0.0.0.0/0"} {
		if _, err := Open(state.Bucket{}, netip.MustParsePrefix(network)); !errors.Is(err, ErrNetwork) {
			t.Errorf("%s: %v; want ErrNetwork", network, err)
		}
	}
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.0.0/16")
	acquire(t, p, "far", "10.1.255.253", "10.1.255.253")
	for i := range 200 {
		if _, err := p.Acquire(machine(fmt.Sprint(i)), netip.Addr{}); err != nil {
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

// The same session with another token is another client, and a token that is one client needs no session.
func TestHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/24")
	get := func(h Holder, want string) {
		t.Helper()
		if pair, err := p.Acquire(h, netip.Addr{}); err != nil || pair.Local.String() != want {
			t.Errorf("%+v got %v, %v; want %s", h, pair, err, want)
		}
	}
	get(Holder{"t1", "s"}, "10.1.1.3")
	get(Holder{"t2", "s"}, "10.1.1.5")
	get(Holder{"t1", ""}, "10.1.1.7")
	get(Holder{"t", "1s"}, "10.1.1.9")
	p.Release(Holder{"t1", "s"})
	get(Holder{"t1", "s"}, "10.1.1.3")
	if err := closers[p](); err != nil {
		t.Fatal(err)
	}
	p = open(t, path, "10.1.1.0/24")
	get(Holder{"t2", "s"}, "10.1.1.5")
	get(Holder{"new", "s"}, "10.1.1.11")
	// t1 is revoked: what it held is free, t2 keeps its own.
	p.End(func(token string) bool { return token == "t1" })
	get(Holder{"next", "s"}, "10.1.1.3")
	p.End(func(token string) bool { return token == "t2" })
	get(Holder{"more", "s"}, "10.1.1.7") // t2's is live until it is released
	p.Release(Holder{"t2", "s"})
	get(Holder{"most", "s"}, "10.1.1.5")
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	p := open(t, path, "10.1.1.0/28") // 6 clients: .3 to .13
	nine, eleven := netip.MustParseAddr("10.1.1.9"), netip.MustParseAddr("10.1.1.11")
	acquire(t, p, "old", "10.1.1.9", "10.1.1.9")
	acquire(t, p, "live", "10.1.1.11", "10.1.1.11")
	p.Release(machine("old"))
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
	p.Reserve(map[netip.Addr]string{nine: "server", eleven: "printer", netip.MustParseAddr("192.168.1.1"): "elsewhere"})
	acquire(t, p, "old", "10.1.1.9", "10.1.1.3") // not any more
	if _, err := p.Acquire(Holder{Token: "printer"}, netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Errorf("an address that is in use: %v", err)
	}
	p.Release(machine("live"))
	acquire(t, p, "live", "", "10.1.1.5")
	for _, h := range []Holder{{Token: "printer"}, {Token: "server"}, {Token: "server"}} {
		want := map[string]string{"printer": "10.1.1.11", "server": "10.1.1.9"}[h.Token]
		if pair, err := p.Acquire(h, netip.MustParseAddr("10.1.1.13")); err != nil || pair.Local.String() != want {
			t.Errorf("%s got %v, %v", h.Token, pair, err)
		}
	}
	// The pool is full: neither the reserved ones, idle or not, nor the live ones give way.
	p.Release(Holder{Token: "printer"})
	p.Release(Holder{Token: "server"})
	acquire(t, p, "a", "", "10.1.1.7")
	acquire(t, p, "b", "", "10.1.1.13")
	if _, err := p.Acquire(machine("c"), netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	p.Release(machine("live"))
	acquire(t, p, "c", "", "10.1.1.5")
	p.Reserve(nil)
	acquire(t, p, "d", "", "10.1.1.11")
	// Where there is room, too, a newcomer gets none of the reserved ones.
	p = open(t, filepath.Join(t.TempDir(), "db"), "10.1.1.0/24")
	p.Reserve(map[netip.Addr]string{netip.MustParseAddr("10.1.1.3"): "server"})
	acquire(t, p, "x", "", "10.1.1.5")
}
