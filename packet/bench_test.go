package packet

import (
	"bytes"
	"fmt"
	"testing"
)

// sizes are bytes of an IP packet: a datagram of a game, a full packet of the tunnel, a
// super-packet.
var sizes = []int{60, 1400, 65535}

// BenchmarkSplit splits a message of 256 KiB into records.
func BenchmarkSplit(b *testing.B) {
	for _, n := range sizes {
		m := bytes.Repeat(added(ipv4("10.1.1.3", "10.1.1.1", n)).Record(), 256<<10/(HeaderLen+n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var batch Batch
			b.ReportAllocs()
			b.SetBytes(int64(len(m)))
			for b.Loop() {
				if err := split(&batch, m, FramingVnet); err != nil {
					b.Fatal(err)
				}
			}
			batch.Reset()
		})
	}
}

// BenchmarkFilter judges 1,000 records as a receiver does, and keeps every second one.
func BenchmarkFilter(b *testing.B) {
	m := bytes.Repeat(added(ipv4("10.1.1.3", "10.1.1.1", 60)).Record(), 1000)
	own := Destination(ipv4("10.1.1.3", "10.1.1.1", 60))
	var batch Batch
	b.ReportAllocs()
	for b.Loop() {
		if err := split(&batch, m, FramingVnet); err != nil {
			b.Fatal(err)
		}
		batch.Filter(func(i int) bool {
			return Check(batch.Record(i)) == nil && Source(batch.IP(i)) != own &&
				Destination(batch.IP(i)) == own && i%2 == 0
		})
	}
	batch.Reset()
}

// BenchmarkTake copies a record out of a message, as forwarding between clients does.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1400, 9000, 65535} {
		m := added(ipv4("10.1.1.3", "10.1.1.1", n)).Record()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var batch Batch
			if err := split(&batch, m, FramingVnet); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(n))
			for b.Loop() {
				batch.Take(0).Free()
			}
			batch.Reset()
		})
	}
}

// BenchmarkSegments takes a super-packet apart, checksums and all.
func BenchmarkSegments(b *testing.B) {
	for _, c := range []superPacket{
		{"TSO4", super(false, protocolTCP, 64000, 1348)},
		{"TSO6", super(true, protocolTCP, 64000, 1328)},
		{"USO4", super(false, protocolUDP, 64*512, 512)},
		{"USO6", super(true, protocolUDP, 64*512, 512)},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := 0
			b.ReportAllocs()
			b.SetBytes(int64(len(c.record)))
			for b.Loop() {
				Segments(c.record, func(ip []byte) { n += len(ip) })
			}
		})
	}
}

// BenchmarkJoin puts together what Segments takes apart: a full run of packets becomes one.
func BenchmarkJoin(b *testing.B) {
	for _, c := range []superPacket{
		{"TCP4", super(false, protocolTCP, 47*1348, 1348)},
		{"TCP6", super(true, protocolTCP, 48*1328, 1328)},
		{"UDP4 of 32", super(false, protocolUDP, 64*32, 32)},
		{"UDP4", super(false, protocolUDP, 64*512, 512)},
		{"UDP6", super(true, protocolUDP, 64*512, 512)},
	} {
		var run [][]byte
		Segments(c.record, func(ip []byte) { run = append(run, added(ip).Record()) })
		b.Run(c.name, func(b *testing.B) {
			var batch Batch
			b.ReportAllocs()
			b.SetBytes(int64(len(c.record)))
			for b.Loop() {
				for _, record := range run {
					if !batch.Join(record, true) {
						p := NewPacket(len(record))
						copy(p.Record(), record)
						batch.Add(p)
					}
				}
				batch.Seal()
				if batch.Len() != 1 {
					b.Fatalf("%d records; want one", batch.Len())
				}
				batch.Reset()
			}
		})
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 60, 1400, 65535} {
		p := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			s := uint64(0)
			for b.Loop() {
				s = sum(p, s)
			}
		})
	}
}

func BenchmarkFlowHash(b *testing.B) {
	for name, ip := range map[string][]byte{
		"IPv4": super(false, protocolUDP, 64, 64)[HeaderLen:],
		"IPv6": super(true, protocolUDP, 64, 64)[HeaderLen:],
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				FlowHash(ip)
			}
		})
	}
}
