package lease

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path, network string) *Pool {
	t.Helper()
	p, err := Open(path, netip.MustParsePrefix(network))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func acquire(t *testing.T, p *Pool, holder, want, expect string) {
	t.Helper()
	a, _ := netip.ParseAddr(want)
	pair, err := p.Acquire(holder, a)
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
	p.Release("a")
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
		pair, err := p.Acquire(fmt.Sprint(i), netip.Addr{})
		if err != nil || seen[pair.Local] || pair.Peer == netip.MustParseAddr("10.1.1.255") {
			t.Fatalf("client %d: %v, %v", i, pair, err)
		}
		seen[pair.Local] = true
	}
	if _, err := p.Acquire("one too many", netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Fatalf("client 127: %v; want ErrFull", err)
	}
	p.Release("7")
	time.Sleep(time.Millisecond)
	p.Release("3")
	acquire(t, p, "newcomer", "", "10.1.1.17") // 7's
	acquire(t, p, "another", "", "10.1.1.9")   // 3's
	if _, err := p.Acquire("7", netip.Addr{}); !errors.Is(err, ErrFull) {
		t.Errorf("the old holder of a pair that is live elsewhere: %v; want ErrFull", err)
	}
}

func TestNetworks(t *testing.T) {
	for network, clients := range map[string]int{"10.1.1.0/29": 2, "10.1.1.8/29": 2, "10.1.0.0/28": 6} {
		p := open(t, filepath.Join(t.TempDir(), "db"), network)
		for i := range clients {
			pair, err := p.Acquire(fmt.Sprint(i), netip.Addr{})
			if err != nil || !p.Network().Contains(pair.Peer) {
				t.Errorf("%s, client %d: %v, %v", network, i, pair, err)
			}
		}
		if _, err := p.Acquire("x", netip.Addr{}); !errors.Is(err, ErrFull) {
			t.Errorf("%s, client %d: %v; want ErrFull", network, clients, err)
		}
	}
	for _, network := range []string{"10.1.1.0/30", "10.1.1.1/24", "10.1.1.1/32", "fd00::/64", "0.0.0.0/0"} {
		if _, err := Open(filepath.Join(t.TempDir(), "db"), netip.MustParsePrefix(network)); !errors.Is(err, ErrNetwork) {
			t.Errorf("%s: %v; want ErrNetwork", network, err)
		}
	}
	p := open(t, filepath.Join(t.TempDir(), "db"), "10.1.0.0/16")
	acquire(t, p, "far", "10.1.255.253", "10.1.255.253")
	for i := range 200 {
		if _, err := p.Acquire(fmt.Sprint(i), netip.Addr{}); err != nil {
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
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = open(t, path, "10.1.1.0/24")
	acquire(t, p, "c", "", "10.1.1.5")
	acquire(t, p, "b", "", "10.1.1.77")
	acquire(t, p, "a", "", "10.1.1.3")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	// Another network: leases of the old one are no use.
	p = open(t, path, "10.9.0.0/24")
	acquire(t, p, "b", "", "10.9.0.3")
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	open(t, path, "10.1.1.0/24")
	if _, err := Open(path, netip.MustParsePrefix("10.1.1.0/24")); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server: %v; want ErrLocked", err)
	}
	damaged := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(damaged, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(damaged, netip.MustParsePrefix("10.1.1.0/24")); err == nil {
		t.Error("a damaged file opens")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none", "db"), netip.MustParsePrefix("10.1.1.0/24")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is missing: %v", err)
	}
}
