package packet

import "encoding/binary"

// DropSegment removes the first segment of a super-packet from p and returns true, as a router
// would drop a single segment. It returns false and changes nothing if p is a single packet. The
// loss of a whole super-packet, dozens of segments at once, would look like a broken path to its
// sender.
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
