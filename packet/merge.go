package packet

import (
	"bytes"
	"encoding/binary"
)

// maxForward bounds the bytes that a merged acknowledgment covers. Symptom: device queues overflow,
// and slow start continues too long. Source: the kernel sends all acknowledged bytes at once, and a
// device's queue holds 100 packets, which have two segments each at the beginning of a connection.
// With too few acknowledgments a sender also does not detect that a queue grows. Figure: without a
// bound, or with 64 KB, slow start went on to 2,400 segments where 750 fill the path, and device
// queues lost 23 and 62 packets. See docs/PERFORMANCE.md to measure again.
const maxForward = 24000

// Merge joins consecutive TCP packets and super-packets of one flow in b, whose records come from
// Split and are adjacent in one buffer. Packets that were delayed by a lost segment of the outer
// connection arrive together. Merged, they are acknowledged at once, with the newest timestamp.
// With an acknowledgment for each, a TCP sender would take the age of the first as a sign of a
// queue. The kernel's GRO (net/ipv4/tcp_offload.c) does the same for equal timestamps (RFC 7323);
// here the newest timestamp stands for all.
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
	record []byte // its capacity includes the following records in the buffer
	h      Header
	t      transport // with protocol 0 the record cannot be merged
	size   int       // bytes of payload of each segment but the last
	grown  bool      // others were merged with it

	forward int // bytes acknowledged beyond the first of the merged acknowledgments
}

// pieceOf examines a record. Only TCP segments with no flags but ACK and PSH, and a partial
// checksum, can be merged.
func pieceOf(record []byte) piece {
	p := piece{record: record, h: ParseHeader(record)}
	ip := record[HeaderLen:]
	t, ok := transportOf(ip)
	if !ok || t.protocol != protocolTCP || p.h.Flags != flagNeedsChecksum ||
		!p.h.completes(t) || t.options(ip) {
		return p
	}
	if ip[t.offset+13]&^tcpPSH != tcpACK {
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

// merge appends next, which follows p in the same buffer, to p if its payload continues that of p,
// and reports whether it has. Of two acknowledgments without payload the newer replaces both (RFC
// 3449 section 5.2.2).
func (p *piece) merge(next *piece) bool {
	if p.t.protocol == 0 || p.t != next.t {
		return false
	}
	a, c := p.record[HeaderLen:], next.record[HeaderLen:]
	if !sameFlow(a, c, p.t) || a[0]>>4 == 4 && a[6]&dontFragment == 0 {
		return false
	}
	x, y := a[p.t.offset:p.t.payload], c[next.t.offset:next.t.payload]
	payload := c[next.t.payload:]
	have := len(a) - p.t.payload
	switch {
	case !sameOptions(x[tcpMinHeaderLen:], y[tcpMinHeaderLen:]):
		return false
	case have == 0 && len(payload) == 0:
		// A duplicate acknowledgment signals a loss and must be kept.
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

// sameOptions reports whether TCP options are equal, except for the values of timestamps in their
// usual place.
func sameOptions(a, c []byte) bool {
	const aligned = 0x0101080a // NOP, NOP, timestamps, 10 bytes (RFC 7323 appendix A)
	if len(a) == 12 && len(c) == 12 {
		return binary.BigEndian.Uint32(a) == aligned && binary.BigEndian.Uint32(c) == aligned
	}
	return bytes.Equal(a, c)
}

// seal completes p as a super-packet if others were merged into it.
func (p *piece) seal() {
	if p.grown {
		putSuper(p.record, p.t, p.size)
	}
}
