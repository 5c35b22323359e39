package peers

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
)

// newFull returns a table with 126 clients, the first of which also has two networks behind it.
func newFull(t testing.TB) (table *Table, first *Peer) {
	t.Helper()
	table = NewTable(nil, time.Now)
	for i := range 126 {
		token := auth.Token{Kind: auth.KindToken}
		if i == 0 {
			token = auth.Token{ID: "first", Kind: auth.KindCredential}
			table.Own(map[netip.Prefix]string{netip.MustParsePrefix("192.168.7.0/24"): "first",
				netip.MustParsePrefix("fd07::/48"): "first"})
		}
		pair, _ := lease.PairOf(netip.MustParsePrefix("10.1.1.0/24"), uint32(i+1))
		p := table.NewPeer(t.Context(), audit.Entry{}, token, fmt.Sprint(i), &lease.Lease{Pair: pair})
		t.Cleanup(func() { p.End(nil) })
		table.Reserve(p.Holder, 0)
		table.Attach(p)
		if i == 0 {
			first = p
		}
	}
	return table, first
}

// Lookup does not allocate.
func TestLookupAllocates(t *testing.T) {
	table, first := newFull(t)
	there, own := netip.MustParseAddr("10.1.1.253"), netip.MustParseAddr("10.1.1.1")
	behind := netip.MustParseAddr("192.168.7.7")
	if n := testing.AllocsPerRun(1000, func() {
		behindFirst, _ := table.Lookup(behind)
		if !table.Has(there) || table.Has(own) || behindFirst.Peer != first {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

func BenchmarkLookupPrefix(b *testing.B) {
	table, _ := newFull(b)
	for _, to := range []string{"10.1.1.253", "192.168.7.9", "192.0.2.1"} {
		a := netip.MustParseAddr(to)
		b.Run(to, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				table.Lookup(a)
			}
		})
	}
}
