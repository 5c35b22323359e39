package frame

import (
	"encoding/binary"
	"testing"

	"tunnel/packet"
)

// small is a packet as it is; large is a TCP super-packet of 64,000 bytes in segments of 1,348.
func small() *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + 1400)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x45, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	return p
}

// records returns a batch of so many bytes, of packets as a device gives them.
func records(size int, one func() *packet.Packet) *packet.Batch {
	b := &packet.Batch{}
	for b.Size() < size {
		b.Add(one())
	}
	return b
}

func large() *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + 20 + 20 + 64000)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x45, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{10, 1, 1, 3, 10, 1, 1, 1})
	ip[20+12] = 5 << 4
	packet.Header{Flags: 1, GSOType: 1, HeaderLength: 40, GSOSize: 1348, ChecksumStart: 20,
		ChecksumOffset: 16}.Put(p.Record())
	return p
}

// frames makes the frames of b, as sending does, and returns how many bytes they are.
func frames(b *packet.Batch, o Form) (n int) {
	f, _ := framePool.Get().(*Buffer)
	defer f.Free()
	for _, part := range f.Build(b, o) {
		n += len(part)
	}
	return n
}

// BenchmarkFrame makes a frame of 192 KiB: a client's is masked, a server's is not.
func BenchmarkFrame(b *testing.B) {
	for _, side := range []string{"client", "server"} {
		for _, way := range writing {
			b.Run(side+"/"+way.name, func(b *testing.B) {
				o := Form{Client: side == "client", Framing: way.framing, PeerUSO: true,
					Whole: way.secure}
				batch := records(packet.UsualBatch, way.one)
				defer batch.Reset()
				b.ReportAllocs()
				b.SetBytes(int64(batch.Size()))
				for b.Loop() {
					frames(batch, o)
				}
			})
		}
	}
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
