package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds the 16-bit words of p to the ones' complement sum s (RFC 1071); an odd last byte counts
// as a high byte.
func sum(p []byte, s uint64) uint64 {
	// Eight bytes at a time: a ones' complement sum may use any word size and be folded at the end,
	// with end-around carries.
	var carry uint64
	for len(p) >= 64 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[8:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[16:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[24:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[32:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[40:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[48:]), carry)
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p[56:]), carry)
		p = p[64:]
	}
	for len(p) >= 8 {
		s, carry = bits.Add64(s, binary.BigEndian.Uint64(p), carry)
		p = p[8:]
	}
	var last uint64
	for i, b := range p {
		last |= uint64(b) << (56 - 8*i)
	}
	s, carry = bits.Add64(s, last, carry)
	s, carry = bits.Add64(s, 0, carry)
	return s + carry
}

// fold reduces s to the 16 bits of a checksum field, not complemented.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// pseudoHeader returns the sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1)
// for n bytes of transport header and payload.
func pseudoHeader(ip []byte, protocol uint8, n int) uint64 {
	s := uint64(protocol) + uint64(n)
	if ip[0]>>4 == 4 {
		return sum(ip[12:20], s)
	}
	return sum(ip[8:40], s)
}

// complete computes a partial checksum: the field at ChecksumOffset holds the sum of the
// pseudo-header, to which the bytes from ChecksumStart to the end are added.
func complete(ip []byte, h Header) {
	start := int(h.ChecksumStart)
	at := start + int(h.ChecksumOffset)
	c := ^fold(sum(ip[start:], 0))
	if c == 0 && h.ChecksumOffset == udpChecksum {
		c = 0xffff // RFC 768: zero means no checksum
	}
	binary.BigEndian.PutUint16(ip[at:], c)
}

// headerChecksum fills in the checksum of an IPv4 header.
func headerChecksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip[:int(ip[0]&0x0f)*4], 0)))
}
