package packet

import (
	"bytes"
	"encoding/binary"
)

// run is the state of the last packet of a Batch, to which others may be joined.
type run struct {
	t     transport
	size  int    // bytes of payload of each segment but the last
	count int    // segments; 1 if none was joined
	next  uint32 // TCP: the sequence number that follows
	state runState
}

type runState uint8

const (
	runUnknown runState = iota // the last packet was not examined yet
	runOpen                    // more may follow
	runClosed                  // nothing may follow
)

// Join appends record's payload to the last packet of b, which must have come from Add, if the two
// are consecutive packets of one flow that a super-packet can represent, as the kernel's GRO does
// (net/ipv4/udp_offload.c, tcp_offload.c). Otherwise it returns false and changes nothing. Packets
// are never reordered, because only the last is examined. Seal must be called before b is used.
func (b *Batch) Join(record []byte, udp bool) bool {
	if len(b.records) == 0 {
		return false
	}
	r := &b.run
	if r.state == runUnknown {
		r.open(b.records[len(b.records)-1].bytes, udp)
	}
	h, ip := ParseHeader(record), record[HeaderLen:]
	if r.state != runOpen || h.GSOType != gsoNone || len(ip) <= r.t.payload ||
		len(ip)-r.t.payload > r.size {
		return false
	}
	last := &b.records[len(b.records)-1]
	head := last.bytes[HeaderLen:]
	if len(head)+len(ip)-r.t.payload > maxIPv4Len || !r.continues(head, ip) || !intact(ip, h, r.t) {
		return false
	}
	payload := ip[r.t.payload:]
	p := last.owner
	if n := len(p.data) + len(payload); n > len(p.store) {
		larger := NewPacket(n)
		larger.data = larger.store[:copy(larger.store, p.data)]
		p.Free()
		p = larger
		last.owner = p
	}
	p.data = append(p.data, payload...)
	last.bytes = p.data
	b.size += len(payload)
	r.count++
	if r.t.protocol == protocolTCP {
		r.next += uint32(len(payload))
		if ip[r.t.offset+13]&tcpPSH != 0 {
			p.data[HeaderLen+r.t.offset+13] |= tcpPSH
			r.state = runClosed
		}
	}
	if len(payload) < r.size || r.count == r.t.mostSegments() {
		r.state = runClosed
	}
	return true
}

// open examines a packet that may begin a run.
func (r *run) open(record []byte, udp bool) {
	*r = run{state: runClosed}
	h, ip := ParseHeader(record), record[HeaderLen:]
	t, ok := transportOf(ip)
	if !ok || h.GSOType != gsoNone || t.payload >= len(ip) || (t.protocol == protocolUDP && !udp) {
		return
	}
	if t.options(ip) || len(ip)-t.payload < t.leastSize() || !intact(ip, h, t) {
		return
	}
	if t.protocol == protocolTCP {
		if ip[t.offset+13] != tcpACK {
			return
		}
		r.next = binary.BigEndian.Uint32(ip[t.offset+4:]) + uint32(len(ip)-t.payload)
	}
	r.t, r.size, r.count, r.state = t, len(ip)-t.payload, 1, runOpen
}

// continues reports whether ip follows, by its headers, the run that begins with head.
func (r *run) continues(head, ip []byte) bool {
	if !sameFlow(head, ip, r.t) {
		return false
	}
	if head[0]>>4 == 4 && head[6]&dontFragment == 0 {
		// Segmentation numbers the packets upwards. This matters only without DF, to reassembly.
		id, first := binary.BigEndian.Uint16(ip[4:]), binary.BigEndian.Uint16(head[4:])
		if id != first+uint16(r.count) {
			return false
		}
	}
	if r.t.protocol == protocolUDP {
		return true
	}
	a, b := head[r.t.offset:], ip[r.t.offset:]
	header := r.t.payload - r.t.offset
	return binary.BigEndian.Uint32(b[4:]) == r.next &&
		bytes.Equal(a[8:13], b[8:13]) && // acknowledgment, header length
		a[13]&^tcpPSH == b[13]&^tcpPSH &&
		// window, urgent pointer, options
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:header], b[18:header])
}

// intact reports whether the transport checksum of a packet is right or will be filled in: a
// super-packet gets new checksums for all segments, which must not hide damage.
func intact(ip []byte, h Header, t transport) bool {
	if h.Flags&flagNeedsChecksum != 0 {
		return h.completes(t)
	}
	if t.protocol == protocolUDP && ip[t.offset+udpChecksum] == 0 &&
		ip[t.offset+udpChecksum+1] == 0 {
		return false // has no checksum, and must not get one
	}
	n := int(binary.BigEndian.Uint16(ip[2:])) - t.offset
	if ip[0]>>4 == 6 {
		n = int(binary.BigEndian.Uint16(ip[4:]))
	}
	return fold(sum(ip[t.offset:], pseudoHeader(ip, t.protocol, n))) == 0xffff
}

// Seal completes the last packet of b: if others were joined to it, it gets the lengths, the
// partial checksum and the virtio_net_hdr of a super-packet.
func (b *Batch) Seal() {
	r := b.run
	b.run = run{}
	if r.count < 2 {
		return
	}
	putSuper(b.records[len(b.records)-1].bytes, r.t, r.size)
}
