package tuntest

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"tunnel/packet"
)

// Packet returns an IPv4 or IPv6 packet from src to dst that carries id. Its protocol is 253, for
// experiments (RFC 3692), which is never segmented or coalesced.
func Packet(src, dst string, id uint32) []byte { return SizedPacket(src, dst, id, 60) }

// SizedPacket is Packet with n bytes, n ≥ 44.
func SizedPacket(src, dst string, id uint32, n int) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	p := make([]byte, n)
	binary.BigEndian.PutUint32(p[n-4:], id)
	if from.Is6() {
		p[0], p[6], p[7] = 0x60, 253, 64
		binary.BigEndian.PutUint16(p[4:], uint16(n-40))
		copy(p[8:], from.AsSlice())
		copy(p[24:], to.AsSlice())
		return p
	}
	p[0], p[8], p[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	copy(p[12:], from.AsSlice())
	copy(p[16:], to.AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	return p
}

// IDOf returns the id in a packet of Packet.
func IDOf(p []byte) uint32 { return binary.BigEndian.Uint32(p[len(p)-4:]) }

// Add appends a copy of an IP packet to a batch.
func Add(b *packet.Batch, ip []byte) { b.Add(WithHeader(ip)) }

// WithHeader returns a copy of an IP packet after a zero virtio_net_hdr.
func WithHeader(ip []byte) *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + len(ip))
	clear(p.Record()[:packet.HeaderLen])
	copy(p.IP(), ip)
	return p
}

// PacketsOf returns copies of the IP packets in a batch.
func PacketsOf(b *packet.Batch) [][]byte {
	var all [][]byte
	for i := range b.Len() {
		all = append(all, bytes.Clone(b.IP(i)))
	}
	return all
}
