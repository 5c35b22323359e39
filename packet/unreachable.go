package packet

import (
	"encoding/binary"
	"net/netip"
)

// unreachableRoom is the most bytes of an ICMP error (RFC 1812 section 4.3.2.3).
const unreachableRoom = 576

// HostUnreachable returns the packet by which from tells the sender of ip, which Length has
// accepted, that its receiver cannot be reached (RFC 792, type 3 code 1). It returns nil if nothing
// may be said (RFC 1122 section 3.2.2): about ICMP errors, fragments other than the first, senders
// that are no single host, and for IPv6. The caller owns the packet.
func HostUnreachable(from netip.Addr, ip []byte) *Packet {
	if ip[0]>>4 != 4 || !from.Is4() || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
		return nil
	}
	header := int(ip[0]&15) * 4
	if ip[9] == protocolICMP && (len(ip) <= header || !isQuery(ip[header])) {
		return nil
	}
	if to := ip[12]; to == 0 || to == 127 || to >= 224 {
		return nil
	}
	quoted := ip[:min(len(ip), unreachableRoom-ipv4MinHeaderLen-icmpHeaderLen)]
	n := ipv4MinHeaderLen + icmpHeaderLen + len(quoted)
	p := NewPacket(HeaderLen + n)
	clear(p.Record()[:HeaderLen+ipv4MinHeaderLen+icmpHeaderLen])
	b := p.IP()
	b[0], b[1], b[8], b[9] = 0x45, 0xc0, 64, protocolICMP // precedence 6, RFC 1812 section 4.3.2.5
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	address := from.As4()
	copy(b[12:], address[:])
	copy(b[16:], ip[12:16])
	headerChecksum(b)
	message := b[ipv4MinHeaderLen:]
	message[0], message[1] = 3, 1
	copy(message[icmpHeaderLen:], quoted)
	binary.BigEndian.PutUint16(message[2:], ^fold(sum(message, 0)))
	return p
}

// isQuery reports whether an ICMP message of this type is a query or its answer (RFC 792, RFC 950),
// and not an error.
func isQuery(kind byte) bool {
	switch kind {
	case 0, 8, 13, 14, 15, 16, 17, 18:
		return true
	}
	return false
}
