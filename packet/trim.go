package packet

import "encoding/binary"

// DropSegment drops the first segment of a super-packet from p, as a router that got its segments
// one by one would, and returns true. It returns false and changes nothing if p is a single packet.
// To its sender the loss of a whole super-packet would look like a broken line: dozens of segments
// at once.
func (p *Packet) DropSegment() bool {
	h, ip := ParseHeader(p.data), p.IP()
	t, ok := transportOf(ip)
	size := int(h.GSOSize)
	if !h.Segmented() || !ok || len(ip)-t.payload <= size {
		return false
	}
	// The headers move up to the second segment's payload.
	copy(ip[size:], ip[:t.payload])
	p.data = p.data[size:]
	ip = p.IP()
	n := len(ip) - t.offset
	if t.protocol == protocolTCP {
		at := t.offset + 4
		binary.BigEndian.PutUint32(ip[at:], binary.BigEndian.Uint32(ip[at:])+uint32(size))
		ip[t.offset+13] &^= tcpCWR
	} else {
		binary.BigEndian.PutUint16(ip[t.offset+4:], uint16(n))
	}
	if ip[0]>>4 == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+1)
		headerChecksum(ip)
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6HeaderLen))
	}
	binary.BigEndian.PutUint16(ip[t.offset+t.checksum:], fold(pseudoHeader(ip, t.protocol, n)))
	if len(ip)-t.payload <= size {
		h.GSOType, h.GSOSize = gsoNone, 0
	}
	h.Put(p.data)
	return true
}
