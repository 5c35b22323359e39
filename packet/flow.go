package packet

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// IP protocol numbers (IANA), and the layout of their headers.
const (
	protocolTCP = 6
	protocolUDP = 17

	protocolHopByHop           = 0 // IPv6 options, as are the next (RFC 8200 sections 4.3 and 4.6)
	protocolDestinationOptions = 60

	tcpMinHeaderLen = 20
	udpHeaderLen    = 8

	tcpChecksum = 16 // offset of the checksum in the header
	udpChecksum = 6
)

// transport locates the TCP or UDP part of a packet; offsets are from the start of the IP packet,
// in bytes.
type transport struct {
	protocol uint8
	offset   int // of the transport header
	payload  int // of the transport payload
	checksum int // of the checksum, from offset
}

// transportOf finds the transport header of an IP packet that Length has accepted. ok is false for
// anything but unfragmented TCP and UDP, and for IPv6 with other extension headers than options:
// with a routing header, for instance, the checksum covers another destination than the header's
// (RFC 8200 section 8.1).
func transportOf(ip []byte) (t transport, ok bool) {
	if ip[0]>>4 == 4 {
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 { // more fragments, or an offset
			return t, false
		}
		t.protocol, t.offset = ip[9], int(ip[0]&0x0f)*4
	} else {
		t.protocol, t.offset = ip[6], ipv6HeaderLen
		for t.protocol == protocolHopByHop || t.protocol == protocolDestinationOptions {
			if len(ip) < t.offset+2 {
				return t, false
			}
			t.protocol, t.offset = ip[t.offset], t.offset+8+8*int(ip[t.offset+1])
		}
	}
	switch t.protocol {
	case protocolTCP:
		if len(ip) < t.offset+tcpMinHeaderLen {
			return t, false
		}
		t.checksum = tcpChecksum
		t.payload = t.offset + int(ip[t.offset+12]>>4)*4
		return t, t.payload >= t.offset+tcpMinHeaderLen && t.payload <= len(ip)
	case protocolUDP:
		if len(ip) < t.offset+udpHeaderLen {
			return t, false
		}
		t.checksum = udpChecksum
		t.payload = t.offset + udpHeaderLen
		return t, true
	}
	return t, false
}

// options reports whether there are bytes between the fixed IP header and the transport header.
func (t transport) options(ip []byte) bool {
	if ip[0]>>4 == 4 {
		return t.offset != ipv4MinHeaderLen
	}
	return t.offset != ipv6HeaderLen
}

// FlowHash returns a hash of the flow that an IP packet belongs to: addresses, protocol and, where
// there are any, ports. All packets of a flow have the same hash. It is not secret: a sender can
// choose ports to make flows collide, which only makes its own flows share a queue.
func FlowHash(ip []byte) uint32 {
	var a, b, c uint64
	var protocol uint8
	var offset int
	if ip[0]>>4 == 4 {
		a = binary.BigEndian.Uint64(ip[12:])
		protocol, offset = ip[9], int(ip[0]&0x0f)*4
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			// only the first fragment has ports, so the hash of all leaves them out
			offset = len(ip)
		}
	} else {
		a = binary.BigEndian.Uint64(ip[8:]) ^ bits.RotateLeft64(binary.BigEndian.Uint64(ip[16:]),
			21)
		b = binary.BigEndian.Uint64(ip[24:]) ^ bits.RotateLeft64(binary.BigEndian.Uint64(ip[32:]),
			43)
		protocol, offset = ip[6], ipv6HeaderLen
	}
	if (protocol == protocolTCP || protocol == protocolUDP) && len(ip) >= offset+4 {
		c = uint64(binary.BigEndian.Uint32(ip[offset:]))
	}
	c = c<<8 | uint64(protocol)
	// Multiplication by odd constants, folded: the mixing of wyhash.
	h, l := bits.Mul64(a^0x9e3779b97f4a7c15, b^c^0xd1342543de82ef95)
	h, l = bits.Mul64(h^l^c, 0xaf251af3b0f025b5)
	return uint32(h ^ l)
}

// Flow is what the packets of a flow have in common.
type Flow struct {
	Source, Destination         netip.Addr
	SourcePort, DestinationPort uint16 // 0 for fragments, and for protocols other than TCP and UDP
	Protocol                    uint8  // of IPv4, or of the next header of IPv6
}

// FlowOf returns the flow of an IP packet that Length has accepted. Packets of one flow have the
// same FlowHash.
func FlowOf(ip []byte) Flow {
	f := Flow{Source: Source(ip), Destination: Destination(ip)}
	offset := ipv6HeaderLen
	if ip[0]>>4 == 4 {
		f.Protocol, offset = ip[9], int(ip[0]&0x0f)*4
		if binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return f
		}
	} else {
		f.Protocol = ip[6]
	}
	if (f.Protocol == protocolTCP || f.Protocol == protocolUDP) && len(ip) >= offset+4 {
		f.SourcePort = binary.BigEndian.Uint16(ip[offset:])
		f.DestinationPort = binary.BigEndian.Uint16(ip[offset+2:])
	}
	return f
}

// Extent returns how many IP packets a record of this framing is on a link, and how many bytes they
// have together: a super-packet counts as its segments, each with its headers.
func Extent(record []byte, framing Framing) (bytes, packets int) {
	ip := record[framing.HeaderLen():]
	if framing == FramingVnet && record[1] != gsoNone {
		size := int(ParseHeader(record).GSOSize)
		if t, ok := transportOf(ip); ok && size > 0 {
			n := t.segments(ip, size)
			return len(ip) + (n-1)*t.payload, n
		}
	}
	return len(ip), 1
}
