package packet

import (
	"bytes"
	"encoding/binary"
)

// maxForward bounds the bytes that one merged acknowledgment releases: the kernel sends all of them
// at once, and a device's queue holds 100 packets, which at the beginning of a connection have two
// segments each. It leaves a sender enough acknowledgments to see a queue that really grows.
const maxForward = 24000

// Merge joins consecutive TCP packets and super-packets of one flow in b, whose records come from
// Split and are adjacent in one buffer. Packets that a lost segment of the connection underneath
// has delayed arrive together, and are then acknowledged as one, by the newest. With an
// acknowledgment for each, a TCP sender would take the age of the first for a queue. The kernel's
// GRO (net/ipv4/tcp_offload.c) does the same for equal timestamps (RFC 7323); here the newest
// timestamp stands for all.
func (b *Batch) Merge() {
	if b.framing != FramingVnet || len(b.records) < 2 {
		return
	}
	kept := 0
	last := pieceOf(b.records[0].bytes)
	for _, r := range b.records[1:] {
		next := pieceOf(r.bytes)
		if last.merge(&next) {
			b.records[kept].bytes = last.record
			continue
		}
		last.seal()
		kept++
		b.records[kept] = r
		last = next
	}
	last.seal()
	clear(b.records[kept+1:])
	b.records = b.records[:kept+1]
}

// A piece is a record that others may be merged with.
type piece struct {
	record []byte // its capacity reaches over what follows in the buffer
	h      Header
	t      transport // protocol 0 cannot be merged
	size   int       // bytes of payload of each segment but the last
	grown  bool      // others were merged with it

	forward int // bytes acknowledged beyond the first acknowledgment that it stands for
}

// pieceOf examines a record: only TCP within a connection, whose checksum the kernel fills in, can
// be merged.
func pieceOf(record []byte) piece {
	p := piece{record: record, h: ParseHeader(record)}
	ip := record[HeaderLen:]
	t, ok := transportOf(ip)
	if !ok || t.protocol != protocolTCP || p.h.Flags != flagNeedsChecksum ||
		int(p.h.ChecksumStart) != t.offset ||
		int(p.h.ChecksumOffset) != t.checksum || t.options(ip) {
		return p
	}
	const ack = 0x10
	if ip[t.offset+13]&^tcpPSH != ack {
		return p
	}
	switch p.h.GSOType {
	case gsoNone:
		p.t, p.size = t, len(ip)-t.payload
	case gsoTCPv4, gsoTCPv6:
		if p.size = int(p.h.GSOSize); p.size > 0 && t.payload < len(ip) && Check(record) == nil {
			p.t = t
		}
	}
	return p
}

// merge appends next, which lies behind p in the same buffer, to p if it goes on where p ends; of
// two acknowledgments that carry nothing else the newer stands for both (RFC 3449 section 5.2.2).
func (p *piece) merge(next *piece) bool {
	if p.t.protocol == 0 || p.t != next.t || !p.sameFlow(next) {
		return false
	}
	a, c := p.record[HeaderLen:], next.record[HeaderLen:]
	x, y := a[p.t.offset:p.t.payload], c[next.t.offset:next.t.payload]
	payload := c[next.t.payload:]
	have := len(a) - p.t.payload
	switch {
	case !sameOptions(x[tcpMinHeaderLen:], y[tcpMinHeaderLen:]):
		return false
	case have == 0 && len(payload) == 0:
		// The same again says that something is missing; and what an acknowledgment sets free at
		// once is better not too much.
		forward := int(int32(binary.BigEndian.Uint32(y[8:]) - binary.BigEndian.Uint32(x[8:])))
		if forward <= 0 || p.forward+forward > maxForward {
			return false
		}
		p.record = next.record
		p.forward += forward
		return true
	case have == 0, have%p.size != 0, len(payload) == 0, next.size > p.size, next.size < p.size &&
		len(payload) > next.size,
		len(a)+len(payload) > maxIPv4Len, p.size < p.t.leastSize(),
		(have+len(payload)+p.size-1)/p.size > p.t.mostSegments(),
		binary.BigEndian.Uint32(y[4:]) != binary.BigEndian.Uint32(x[4:])+uint32(have):
		return false
	}
	copy(x[8:], y[8:13])   // acknowledgment
	x[13] |= y[13]         // flags
	copy(x[14:], y[14:16]) // window
	copy(x[tcpMinHeaderLen:], y[tcpMinHeaderLen:])
	p.record = append(p.record, payload...)
	p.grown = true
	return true
}

// sameFlow tells whether the IP headers and ports of two pieces are the same, but for what differs
// in every packet.
func (p *piece) sameFlow(next *piece) bool {
	a, c := p.record[HeaderLen:], next.record[HeaderLen:]
	if a[0]>>4 == 4 {
		const dontFragment = 0x40
		// Version and type of service; whether it may be fragmented, TTL, protocol; addresses.
		if !bytes.Equal(a[:2], c[:2]) || !bytes.Equal(a[6:10], c[6:10]) || !bytes.Equal(a[12:20],
			c[12:20]) || a[6]&dontFragment == 0 {
			return false
		}
	} else if !bytes.Equal(a[:4], c[:4]) || !bytes.Equal(a[6:40], c[6:40]) {
		return false
	}
	return bytes.Equal(a[p.t.offset:p.t.offset+4], c[p.t.offset:p.t.offset+4])
}

// sameOptions tells whether TCP options are the same but for the values of timestamps where they
// always stand.
func sameOptions(a, c []byte) bool {
	const aligned = 0x0101080a // NOP, NOP, timestamps, 10 bytes (RFC 7323 appendix A)
	if len(a) == 12 && len(c) == 12 {
		return binary.BigEndian.Uint32(a) == aligned && binary.BigEndian.Uint32(c) == aligned
	}
	return bytes.Equal(a, c)
}

// seal gives p the header of the super-packet that it has become.
func (p *piece) seal() {
	if !p.grown {
		return
	}
	ip := p.record[HeaderLen:]
	p.h.GSOType, p.h.GSOSize, p.h.HeaderLength = gsoTCPv4, uint16(p.size), uint16(p.t.payload)
	if ip[0]>>4 == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		headerChecksum(ip)
	} else {
		p.h.GSOType = gsoTCPv6
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6HeaderLen))
	}
	binary.BigEndian.PutUint16(ip[p.t.offset+p.t.checksum:], fold(pseudoHeader(ip, protocolTCP,
		len(ip)-p.t.offset)))
	p.h.Put(p.record)
}
