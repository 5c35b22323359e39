package transport

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"tunnel/packet"
)

// BenchmarkQueue pushes 1,024 packets and pops them in batches, from so many flows.
func BenchmarkQueue(b *testing.B) {
	for _, flows := range []int{1, 8, 200, 1024} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			q := NewQueue(64 << 20)
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for i := range 1024 {
					q.Push(datagram(uint16(i%flows), 1400, 0, 0))
				}
				for n := 0; n < 1024; {
					q.Pop(&batch, 256<<10)
					n += batch.Len()
					batch.Reset()
				}
			}
		})
	}
}

// BenchmarkQueueFull pushes into a queue that is full: each packet drops one.
func BenchmarkQueueFull(b *testing.B) {
	for _, flows := range []int{1, 8, 200, 1024} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			q := NewQueue(2 << 20)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				q.Push(datagram(uint16(i%flows), 1400, 0, 0))
			}
			q.Close()
		})
	}
}

// sink is a connection that takes everything at once.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error) { return len(p), nil }

// toSink returns a connection that writes into nothing. secure is the way of a connection with TLS, without the cipher.
func toSink(client, secure bool, framing packet.Framing) *Conn {
	w := &wire{Conn: sink{}, tcp: sink{}}
	if secure {
		w.under = &segments{Conn: sink{}}
		w.Conn = w.under
	}
	return &Conn{wire: w, client: client, framing: framing, peerUSO: true}
}

// records returns a batch of so many bytes, of packets as a device gives them.
func records(size int, one func() *packet.Packet) *packet.Batch {
	b := &packet.Batch{}
	for b.Size() < size {
		b.Add(one())
	}
	return b
}

// small is a packet as it is; large is a TCP super-packet of 64,000 bytes in segments of 1,348.
func small() *packet.Packet { return datagram(1, 1400, 0, 0) }

func large() *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + 20 + 20 + 64000)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x45, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 1, 1, 3, 10, 1, 1, 1})
	ip[20+12] = 5 << 4
	packet.Header{Flags: 1, GSOType: 1, HeaderLength: 40, GSOSize: 1348, ChecksumStart: 20, ChecksumOffset: 16}.Put(p.Record())
	return p
}

// writing is the ways that a batch can take through WriteBatch.
var writing = []struct {
	name    string
	secure  bool
	framing packet.Framing
	one     func() *packet.Packet
}{
	{"copied", false, packet.FramingVnet, small},
	{"as it is", false, packet.FramingVnet, large},
	{"copied for TLS", true, packet.FramingVnet, large},
	{"segmented", false, packet.FramingIP, large},
}

// BenchmarkWriteBatch makes a frame of 256 KiB: a client's is masked, a server's is not.
func BenchmarkWriteBatch(b *testing.B) {
	for _, side := range []string{"client", "server"} {
		for _, way := range writing {
			b.Run(side+"/"+way.name, func(b *testing.B) {
				c := toSink(side == "client", way.secure, way.framing)
				batch := records(256<<10, way.one)
				defer batch.Reset()
				b.ReportAllocs()
				b.SetBytes(int64(batch.Size()))
				for b.Loop() {
					if err := c.WriteBatch(batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
