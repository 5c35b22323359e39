package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
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

// BenchmarkLanes is BenchmarkQueue with 8 flows, over so many lanes.
func BenchmarkLanes(b *testing.B) {
	for _, lanes := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			l := NewLanes(64 << 20)
			var queues []*Queue
			for range lanes {
				queues = append(queues, l.Join())
			}
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for i := range 1024 {
					l.Push(datagram(uint16(i%8), 1400, 0, 0))
				}
				for _, q := range queues {
					for q.Len() > 0 {
						q.Pop(&batch, 256<<10)
						batch.Reset()
					}
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

// sink is an output that makes frames for nobody. secure is the way of a connection with TLS.
func sink(client, secure bool, framing packet.Framing) *output {
	o := &output{wire: &wire{}, client: client, framing: framing, peerUSO: true}
	if secure {
		o.wire.under = &segments{}
	}
	return o
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

// writing is the ways that a batch can take on its way out.
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

// frames makes the frames of b, as sending does, and returns how many bytes they are.
func (o *output) frames(b *packet.Batch) (n int) {
	f, _ := framePool.Get().(*frame)
	defer f.free()
	for _, part := range f.build(b, o) {
		n += len(part)
	}
	return n
}

// BenchmarkFrame makes a frame of 192 KiB: a client's is masked, a server's is not.
func BenchmarkFrame(b *testing.B) {
	for _, side := range []string{"client", "server"} {
		for _, way := range writing {
			b.Run(side+"/"+way.name, func(b *testing.B) {
				o := sink(side == "client", way.secure, way.framing)
				batch := records(maxBudget, way.one)
				defer batch.Reset()
				b.ReportAllocs()
				b.SetBytes(int64(batch.Size()))
				for b.Loop() {
					o.frames(batch)
				}
			})
		}
	}
}

// arrive puts bytes into the buffer of in as if they had just been read.
func (in *input) arrive(p []byte) {
	in.end = copy(in.room(), p)
}

// whole returns a frame with b in it, as a client or a server sends it.
func whole(b *packet.Batch, client bool) []byte {
	f, _ := framePool.Get().(*frame)
	defer f.free()
	return bytes.Join(f.build(b, sink(client, true, packet.FramingVnet)), nil)
}

// BenchmarkInput takes a frame of 192 KiB apart: a client's has to be unmasked, a server's not.
func BenchmarkInput(b *testing.B) {
	for _, side := range []string{"client", "server"} {
		for _, way := range writing[:2] {
			b.Run(side+"/"+way.name, func(b *testing.B) {
				batch := records(maxBudget, way.one)
				message := whole(batch, side == "client")
				batch.Reset()
				in := &input{masked: side == "client", idle: newControls()}
				var got packet.Batch
				b.ReportAllocs()
				b.SetBytes(int64(len(message)))
				for b.Loop() {
					in.arrive(message)
					if err := in.batch(&got, packet.FramingVnet); err != nil {
						b.Fatal(err)
					}
					got.Reset()
					in.release()
				}
			})
		}
	}
}
