package server

import (
	"fmt"
	"net/netip"
	"testing"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/packet"
)

// A path is a policy with 126 clients, the first of which also has two networks behind it, and packets of its.
type path struct {
	rules policy
	table *peers
	first *peer
	up    map[string][]byte // by destination
	down  []byte
}

func newPath(t testing.TB) *path {
	t.Helper()
	own := netip.MustParseAddr("10.1.1.1")
	x := &path{table: newPeers(nil), up: map[string][]byte{}}
	x.rules = policy{server: own, network: netip.MustParsePrefix("10.1.1.0/24"), clientToClient: true, clients: x.table}
	for i := range 126 {
		token := auth.Token{Kind: auth.KindToken}
		if i == 0 {
			token.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"), netip.MustParsePrefix("fd07::/48")}
		}
		pair, _ := lease.PairOf(x.rules.network, uint32(i+1))
		p := newPeer(t.Context(), "", token, fmt.Sprint(i), &lease.Lease{Pair: pair}, nil)
		t.Cleanup(func() { p.cancel(nil) })
		x.table.reserve(p.holder, 0)
		x.table.enter(p)
		if i == 0 {
			x.first = p
		}
	}
	for _, to := range []string{"10.1.1.1", "10.1.1.253", "192.168.7.9", "192.0.2.1", "224.0.0.1", "10.1.1.255"} {
		x.up[to] = ipv4("10.1.1.3", to)
	}
	x.down = ipv4("10.1.1.1", "192.168.7.7")
	return x
}

func ipv4(from, to string) []byte {
	p := make([]byte, 60)
	p[0] = 0x45
	copy(p[12:], append(netip.MustParseAddr(from).AsSlice(), netip.MustParseAddr(to).AsSlice()...))
	return p
}

// Nothing on a packet's way through the policy and the peer table may allocate.
func TestLookupAllocates(t *testing.T) {
	x := newPath(t)
	there, own := netip.MustParseAddr("10.1.1.253"), x.rules.server
	behind := ipv4("192.168.7.7", "10.1.1.1")
	var counts drops
	if n := testing.AllocsPerRun(1000, func() {
		for to, want := range map[string]verdict{"10.1.1.1": pass, "10.1.1.253": pass, "192.0.2.1": dropDestination, "224.0.0.1": dropMulticast, "10.1.1.255": dropBroadcast} {
			if v := x.rules.fromClient(x.first, x.up[to]); v != want {
				t.Errorf("to %s: %s", to, v.name())
			}
		}
		if x.rules.fromClient(x.first, behind) != pass || x.rules.fromKernel(x.down) != pass {
			t.Error("dropped")
		}
		behindFirst, _ := x.table.at(packet.Destination(x.down))
		_, found := x.table.at(there)
		if _, foundOwn := x.table.at(own); !found || foundOwn || behindFirst.peer != x.first {
			t.Error("not found")
		}
		counts.count(dropNoPeer, 1)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func BenchmarkPolicy(b *testing.B) {
	x := newPath(b)
	for to, p := range x.up {
		b.Run("from client to "+to, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				x.rules.fromClient(x.first, p)
			}
		})
	}
	behind := ipv4("192.168.7.7", "10.1.1.1")
	b.Run("from behind a client", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			x.rules.fromClient(x.first, behind)
		}
	})
	b.Run("from the kernel", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			x.rules.fromKernel(x.down)
		}
	})
}

func BenchmarkLookupPrefix(b *testing.B) {
	x := newPath(b)
	for _, to := range []string{"10.1.1.253", "192.168.7.9", "192.0.2.1"} {
		a := netip.MustParseAddr(to)
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				x.table.at(a)
			}
		})
	}
}
