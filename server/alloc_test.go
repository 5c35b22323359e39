package server

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// Nothing on a packet's way through the policy and the peer table may allocate.
func TestLookupAllocates(t *testing.T) {
	own := netip.MustParseAddr("10.1.1.1")
	rules := policy{server: own, network: netip.MustParsePrefix("10.1.1.0/24"), clientToClient: true}
	table := newPeers()
	for i := range 126 {
		p := newPeer(context.Background(), fmt.Sprint(i))
		defer p.cancel(nil)
		table.claim(p)
		table.address(p, netip.AddrFrom4([4]byte{10, 1, 1, byte(3 + 2*i)}))
	}
	client, there := netip.MustParseAddr("10.1.1.3"), netip.MustParseAddr("10.1.1.253")
	up, down := make([]byte, 60), make([]byte, 60)
	up[0], down[0] = 0x45, 0x45
	copy(up[12:], append(client.AsSlice(), there.AsSlice()...))
	copy(down[12:], append(own.AsSlice(), client.AsSlice()...))
	var counts drops
	if n := testing.AllocsPerRun(1000, func() {
		if rules.fromClient(client, up) != pass || rules.fromKernel(down) != pass {
			t.Error("dropped")
		}
		if table.at(there) == nil || table.at(own) != nil {
			t.Error("not found")
		}
		counts.count(dropNoPeer, 1)
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
