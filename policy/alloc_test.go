package policy

import (
	"net/netip"
	"testing"

	"tunnel/packet"
	"tunnel/tun/tuntest"
)

// A path is a hub whose first member has two networks behind it and reaches one behind the hub, and
// packets of that member.
type path struct {
	hub    Hub
	member *Member
	up     map[string]*packet.Batch // by destination
	behind *packet.Batch            // from a network behind it
	down   []byte
	lan    []byte // from the network behind the hub
}

func newPath() *path {
	routes := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24"),
		netip.MustParsePrefix("fd07::/48")}
	x := &path{
		hub: Hub{
			Server: netip.MustParseAddr("10.1.1.1"), Network: netip.MustParsePrefix("10.1.1.0/24"),
			ClientToClient: true,
		},
		member: NewMember(netip.MustParseAddr("10.1.1.3")),
		up:     map[string]*packet.Batch{},
		behind: batch("192.168.7.7", "10.1.1.1"),
		down:   tuntest.Packet("10.1.1.1", "192.168.7.7", 1),
		lan:    tuntest.Packet("172.16.1.9", "192.168.7.7", 1),
	}
	x.member.Set(NewRules([]netip.Prefix{netip.MustParsePrefix("172.16.1.0/24")}))
	x.hub.Member = func(a netip.Addr) (*Member, bool) {
		if routes[0].Contains(a) {
			return x.member, true
		}
		return nil, false
	}
	for _, to := range []string{"10.1.1.1", "10.1.1.253", "192.168.7.9", "192.0.2.1", "224.0.0.1",
		"10.1.1.255", "172.16.1.9"} {
		x.up[to] = batch("10.1.1.3", to)
	}
	return x
}

func batch(from, to string) *packet.Batch {
	var b packet.Batch
	tuntest.Add(&b, tuntest.Packet(from, to, 1))
	return &b
}

// Judging a packet may not allocate.
func TestJudgingAllocates(t *testing.T) {
	x := newPath()
	var drops Drops
	if n := testing.AllocsPerRun(1000, func() {
		for to, want := range map[string]Verdict{
			"10.1.1.1": Pass, "10.1.1.253": Pass, "192.168.7.9": Pass, "192.0.2.1": Destination,
			"224.0.0.1": Multicast, "10.1.1.255": Broadcast, "172.16.1.9": Pass,
		} {
			if v, _ := x.hub.FromMember(x.member, x.up[to], 0); v != want {
				t.Errorf("to %s: %s", to, v)
			}
		}
		if v, _ := x.hub.FromMember(x.member, x.behind, 0); v != Pass ||
			x.hub.FromKernel(x.down) != Pass || x.hub.FromKernel(x.lan) != Pass {
			t.Error("dropped")
		}
		drops.Count(NoPeer, 1)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func BenchmarkPolicy(b *testing.B) {
	x := newPath()
	for to, p := range x.up {
		b.Run("from client to "+to, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				x.hub.FromMember(x.member, p, 0)
			}
		})
	}
	b.Run("from behind a client", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			x.hub.FromMember(x.member, x.behind, 0)
		}
	})
	b.Run("from behind the hub", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			x.hub.FromKernel(x.lan)
		}
	})
	b.Run("from the kernel", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			x.hub.FromKernel(x.down)
		}
	})
}
