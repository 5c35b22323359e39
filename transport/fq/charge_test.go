package fq

import (
	"encoding/binary"
	"testing"

	"tunnel/packet"
)

// superDatagram returns a UDP super-packet of n datagrams with size bytes of payload each.
func superDatagram(port uint16, n, size int) *packet.Packet {
	p := datagram(port, 28+n*size, 0, 0)
	binary.BigEndian.PutUint16(p.IP()[24:], uint16(8+n*size))
	packet.Header{Flags: 1, GSOType: 5, GSOSize: uint16(size), ChecksumStart: 20,
		ChecksumOffset: 6}.Put(p.Record())
	return p
}

// A super-packet is charged for the segments that it becomes: of a flow of them and one of single
// packets, each gets half of the wire.
func TestQueueChargesForSegments(t *testing.T) {
	q, _ := fakeQueue(1 << 30)
	for seq := range 2000 {
		q.Push(superDatagram(1, 64, 28)) // twice its bytes
		q.Push(datagram(2, 56, 0, seq))
		for range 9 {
			q.Push(datagram(2, 1400, 0, seq))
		}
	}
	wire := map[uint16]int{}
	var b packet.Batch
	q.Pop(&b, 400_000)
	for i := range b.Len() {
		port := portOf(b.IP(i))
		packet.Segments(b.Record(i), func(ip []byte) { wire[port] += len(ip) })
	}
	b.Reset()
	if ratio := float64(wire[1]) / float64(wire[2]); ratio < 0.9 || ratio > 1.1 {
		t.Errorf("the flows send %d and %d bytes; want equal shares", wire[1], wire[2])
	}
	q.Close()
	if q.buffered != 0 {
		t.Errorf("%d bytes are charged for nothing", q.buffered)
	}

	// A packet larger on the wire than its buffer counts by its size on the wire.
	full, _ := fakeQueue(20 * packet.MiddleRoom)
	for range 20 {
		full.Push(superDatagram(1, 64, 160)) // 12,032 bytes of packets in a buffer of 16 KiB
	}
	if n := full.Drops().Full; n != 0 {
		t.Errorf("%d dropped within the limit", n)
	}
	full.Close()
	full, _ = fakeQueue(20 * packet.MiddleRoom)
	for range 20 {
		full.Push(superTCP()) // over 28 KiB of packets in a buffer of 16 KiB
	}
	if n := full.Len(); n > 12 {
		t.Errorf("%d super-packets of 28 KiB wait in a queue of 320 KiB", n)
	}
	full.Close()
}

// superTCP returns a super-packet of 128 segments with 120 bytes of payload, whose headers are 120
// bytes.
func superTCP() *packet.Packet {
	const headers, n, size = 120, 128, 120
	p := packet.NewPacket(packet.HeaderLen + headers + n*size)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x4f, 6
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[60+12] = 0xf0
	packet.Header{Flags: 1, GSOType: 1, GSOSize: size, ChecksumStart: 60,
		ChecksumOffset: 16}.Put(p.Record())
	return p
}
