package ws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"tunnel/packet"
	"tunnel/transport/ws/frame"
)

// datagramFrom returns a UDP packet of n bytes from a port.
func datagramFrom(port uint16, n int) *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + n)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x45, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	copy(ip[12:], []byte{10, 1, 1, 3, 10, 1, 1, 1})
	binary.BigEndian.PutUint16(ip[20:], port)
	return p
}

// batchOf returns a batch of so many bytes, of datagrams with n bytes each.
func batchOf(size, n int) *packet.Batch {
	b := &packet.Batch{}
	for b.Size() < size {
		b.Add(datagramFrom(1, n))
	}
	return b
}

// arrive puts bytes into the buffer of in as if they had just been read.
func (in *input) arrive(p []byte) {
	in.end = copy(in.room(), p)
}

// whole returns a frame with b in it, as a client or a server sends it.
func whole(b *packet.Batch, client bool) []byte {
	f := frame.New()
	defer f.Free()
	return bytes.Join(f.Build(b, frame.Form{Client: client, Framing: packet.FramingVnet,
		PeerUSO: true, Whole: true}), nil)
}

// BenchmarkInput takes a frame of 192 KiB apart: a client's has to be unmasked, a server's not.
func BenchmarkInput(b *testing.B) {
	for _, side := range []string{"client", "server"} {
		for _, size := range []int{1400, 60000} {
			b.Run(fmt.Sprint(side, "/", size), func(b *testing.B) {
				batch := batchOf(packet.UsualBatch, size)
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
