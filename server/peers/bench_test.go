package peers

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
	"tunnel/packet"
	"tunnel/transport/tcp"
)

// many returns a table of n peers, which have 10.1.1.3, .5 and so on, and a packet to each.
func many(t testing.TB, n int) (*Table, [][]byte) {
	t.Helper()
	table := NewTable(nil, time.Now)
	packets := make([][]byte, n)
	for i := range n {
		host := 256 + uint16(3+2*i)
		pair := lease.Pair{Local: netip.AddrFrom4([4]byte{10, 1, byte(host >> 8), byte(host)})}
		p := table.NewPeer(t.Context(), audit.Entry{}, auth.Token{Kind: auth.KindToken}, fmt.Sprint(i),
			&lease.Lease{Pair: pair})
		t.Cleanup(func() { p.End(nil) })
		table.Reserve(p.Holder, 0)
		table.Attach(p)
		packets[i] = []byte{0x45, 16: 10, 17: 1, 18: byte(host >> 8), 19: byte(host)}
	}
	return table, packets
}

// BenchmarkLookup finds the peer that a packet is for.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		table, packets := many(b, n)
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, ok := table.Lookup(packet.Destination(packets[i%n])); !ok {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprintf("peers=%d, in parallel", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, ok := table.Lookup(packet.Destination(packets[i%n])); !ok {
						b.Error("not found")
					}
				}
			})
		})
	}
}

// BenchmarkStatus makes the answer about all peers, each with a TCP connection.
func BenchmarkStatus(b *testing.B) {
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	table, packets := many(b, 1000)
	for _, p := range table.All() {
		conn, err := new(net.Dialer).DialContext(b.Context(), "tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		wire, err := tcp.New(conn, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = wire.Close() }()
		accepted, err := ln.Accept()
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = accepted.Close() }()
		p.Start(p.Connect(0), wire, nil)
	}
	b.Run(fmt.Sprintf("peers=%d", len(packets)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			text, err := json.Marshal(table.Status(nil))
			if err != nil || len(text) < 100*len(packets) {
				b.Fatal(len(text), err)
			}
		}
	})
}
