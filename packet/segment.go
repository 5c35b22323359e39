package packet

import "encoding/binary"

// TCP flags (RFC 9293 section 3.1, RFC 3168 section 6.1).
const (
	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// Segments calls emit with each IP packet that the record stands for, complete with checksums, in
// order: the record's own packet, or the segments of a super-packet, as the kernel would make them
// (net/ipv4/tcp_offload.c, udp_offload.c). Check must have returned nil or ErrAmplifies for record,
// which is changed: checksums are filled in. emit must not keep its argument. Of the IP header only
// the lengths, the IPv4 identification and the IPv4 header checksum differ from the record's.
func Segments(record []byte, emit func(ip []byte)) {
	h, ip := ParseHeader(record), record[HeaderLen:]
	if h.GSOType == gsoNone {
		if h.Flags&flagNeedsChecksum != 0 {
			complete(ip, h)
		}
		emit(ip)
		return
	}
	scratch := NewPacket(largeRoom)
	defer scratch.Free()
	t, _ := transportOf(ip)
	payload := ip[t.payload:]
	first := true
	for i := uint16(0); first || len(payload) > 0; i++ {
		n := min(int(h.GSOSize), len(payload))
		segment := scratch.data[:t.payload+n]
		copy(segment, ip[:t.payload])
		copy(segment[t.payload:], payload[:n])
		payload = payload[n:]
		finishSegment(segment, t, h, i, first, len(payload) == 0)
		emit(segment)
		first = false
	}
}

// finishSegment sets the fields that differ between segments: lengths, IPv4 identification,
// sequence number, flags, checksums.
func finishSegment(segment []byte, t transport, h Header, i uint16, first, last bool) {
	if segment[0]>>4 == 4 {
		binary.BigEndian.PutUint16(segment[2:], uint16(len(segment)))
		binary.BigEndian.PutUint16(segment[4:], binary.BigEndian.Uint16(segment[4:])+i)
		headerChecksum(segment)
	} else {
		binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)-ipv6HeaderLen))
	}
	n := len(segment) - t.offset
	header := segment[t.offset:]
	if t.protocol == protocolTCP {
		seq := binary.BigEndian.Uint32(header[4:])
		binary.BigEndian.PutUint32(header[4:], seq+uint32(i)*uint32(h.GSOSize))
		if !last {
			header[13] &^= tcpFIN | tcpPSH
		}
		if !first {
			header[13] &^= tcpCWR
		}
	} else {
		binary.BigEndian.PutUint16(header[4:], uint16(n))
	}
	binary.BigEndian.PutUint16(header[t.checksum:], fold(pseudoHeader(segment, t.protocol, n)))
	complete(segment, Header{ChecksumStart: uint16(t.offset), ChecksumOffset: uint16(t.checksum)})
}
