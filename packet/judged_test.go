package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// judged is what a policy has seen of a packet, and what no later stage may change.
type judged struct {
	fixed   []byte // of the IP header, with the ECN field blanked out
	options []byte // IPv4 options or IPv6 extension headers
	ports   []byte // of TCP and UDP
}

// judgedOf returns of an IPv4 packet bytes 0–1, 6–9 and 12–19 and its options, and of an IPv6
// packet bytes 0–3 and 6–39 and its extension headers. It omits the lengths, the IPv4
// identification and header checksum, and the ECN field.
func judgedOf(ip []byte) judged {
	var j judged
	t, ok := transportOf(ip)
	if ip[0]>>4 == 4 {
		end := int(ip[0]&0x0f) * 4
		j.fixed = append([]byte{ip[0], ip[1] &^ ecnMask}, ip[6:10]...)
		j.fixed = append(j.fixed, ip[12:20]...)
		j.options = bytes.Clone(ip[ipv4MinHeaderLen:end])
	} else {
		j.fixed = append([]byte{ip[0], ip[1] &^ (ecnMask << 4), ip[2], ip[3]}, ip[6:40]...)
		if ok {
			j.options = bytes.Clone(ip[ipv6HeaderLen:t.offset])
		}
	}
	if ok {
		j.ports = bytes.Clone(ip[t.offset : t.offset+4])
	}
	return j
}

func (j judged) equal(k judged) bool {
	return bytes.Equal(j.fixed, k.fixed) && bytes.Equal(j.options, k.options) &&
		bytes.Equal(j.ports, k.ports)
}

// kernel completes the checksum of a record as a kernel does.
func kernel(record []byte) {
	if h := ParseHeader(record); h.Flags&flagNeedsChecksum != 0 {
		binary.BigEndian.PutUint16(record[HeaderLen+int(h.ChecksumStart)+int(h.ChecksumOffset):],
			0xbeef)
	}
}

// attacks are records that passed Check once, and were other packets after their checksum was
// filled in.
func attacks() map[string][]byte {
	forged := func(start, offset int) []byte {
		p := added(ipv4("10.1.1.3", "10.1.1.5", 60)).Record()
		p[HeaderLen+8], p[HeaderLen+9] = 64, protocolUDP
		Header{Flags: flagNeedsChecksum, ChecksumStart: uint16(start),
			ChecksumOffset: uint16(offset)}.Put(p)
		return p
	}
	fragment := forged(ipv4MinHeaderLen, udpChecksum)
	fragment[HeaderLen+7] = 1
	other := forged(ipv4MinHeaderLen, udpChecksum)
	other[HeaderLen+9] = 47 // GRE: what lies there is a packet of its own
	return map[string][]byte{
		"a checksum in the source":              forged(0, 14),
		"a checksum in the destination":         forged(10, 8),
		"a checksum in the total length":        forged(2, 0),
		"a checksum in the flags":               forged(0, 6),
		"a checksum in the protocol":            forged(8, 0),
		"a checksum in the ports":               forged(ipv4MinHeaderLen, 0),
		"a checksum in the payload":             forged(ipv4MinHeaderLen, 20),
		"a checksum of TCP in UDP":              forged(ipv4MinHeaderLen, tcpChecksum),
		"a checksum of a fragment":              fragment,
		"a checksum of neither TCP nor UDP":     other,
		"a checksum counted from the IP header": forged(0, ipv4MinHeaderLen+udpChecksum),
	}
}

func TestCheckRefusesChecksumsElsewhere(t *testing.T) {
	for name, record := range attacks() {
		if Check(record) == nil {
			before := judgedOf(record[HeaderLen:])
			after := before
			Segments(record, func(ip []byte) { after = judgedOf(ip) })
			t.Errorf("%s is accepted; judged\n%x, then it is\n%x", name, before, after)
		}
	}
}

// FuzzJudged: a peer's record that Check accepts, alone or merged with others, stays the packet
// that a policy has judged, in whatever order it is marked, trimmed, segmented, joined again and
// given to a kernel; and it never becomes more than twice its bytes.
func FuzzJudged(f *testing.F) {
	for _, c := range superPackets() {
		f.Add(c.record, uint8(0xff))
	}
	for _, record := range attacks() {
		f.Add(record, uint8(0))
	}
	_, pieces := stream(false, 9*1340, 1340, 2)
	f.Add(bytes.Join(pieces, nil), uint8(1))
	options := bytes.Clone(super(true, protocolUDP, 1001, 100))
	options = append(options[:HeaderLen+40:HeaderLen+40], append([]byte{17, 0, 1, 4, 0, 0, 0, 0},
		options[HeaderLen+40:]...)...)
	options[HeaderLen+6] = protocolHopByHop
	binary.BigEndian.PutUint16(options[HeaderLen+4:], uint16(len(options)-HeaderLen-40))
	h := ParseHeader(options)
	h.ChecksumStart += 8
	h.Put(options)
	if err := Check(options); err != nil {
		f.Fatalf("a super-packet behind IPv6 options: %v", err)
	}
	f.Add(options, uint8(6))
	f.Fuzz(func(t *testing.T, message []byte, stages uint8) {
		var b Batch
		if _, err := b.Split(bytes.Clone(message), FramingVnet); err != nil {
			return
		}
		if stages&1 != 0 {
			b.Merge()
		}
		b.Filter(func(i int) bool { return Check(b.Record(i)) == nil })
		for i := range b.Len() {
			record := b.Record(i)
			want := judgedOf(record[HeaderLen:])
			given := bytes.Clone(record)
			kernel(given)
			if !judgedOf(given[HeaderLen:]).equal(want) ||
				!bytes.Equal(given[HeaderLen:HeaderLen+6], record[HeaderLen:HeaderLen+6]) {
				t.Fatalf("the kernel makes another packet of %x", record[:min(len(record), 80)])
			}
			p := b.Take(i)
			wire := p.Wire()
			if stages&2 != 0 {
				MarkCE(p.IP())
			}
			for range stages >> 2 & 3 {
				p.DropSegment()
			}
			out, count := 0, 0
			var again Batch
			Segments(p.Record(), func(ip []byte) {
				if n, err := Length(ip); err != nil || n != len(ip) {
					t.Fatalf("a segment of %d bytes has a length of %d: %v", len(ip), n, err)
				}
				if !judgedOf(ip).equal(want) {
					t.Fatalf("judged %x, sent %x", want, judgedOf(ip))
				}
				out += len(ip)
				count++
				if s := added(ip); again.Join(s.Record(), true) {
					s.Free()
				} else {
					again.Add(s)
				}
			})
			again.Seal()
			for i := range again.Len() {
				if err := Check(again.Record(i)); err != nil || !judgedOf(again.IP(i)).equal(want) {
					t.Fatalf("joined again: %v, %x; want %x", err, judgedOf(again.IP(i)), want)
				}
			}
			again.Reset()
			if out > 2*len(given) || count > maxTCPSegments {
				t.Fatalf("%d bytes become %d in %d packets", len(given), out, count)
			}
			if stages>>2&3 == 0 && wire != HeaderLen+out {
				t.Fatalf("%d bytes on the wire are charged as %d", out, wire-HeaderLen)
			}
			p.Free()
		}
	})
}

// The segments of a super-packet are bounded; ordinary traffic is within the bounds.
func TestCheckBoundsSegments(t *testing.T) {
	for name, c := range map[string]struct {
		record []byte
		want   error
	}{
		"TCP, one byte each":         {super(false, protocolTCP, 64000, 1), ErrAmplifies},
		"TCP, less than the headers": {super(false, protocolTCP, 4000, 51), ErrAmplifies},
		"TCP, as much as the headers": {super(false, protocolTCP, 52*maxTCPSegments, 52),
			nil},
		"TCP, a segment too many": {super(false, protocolTCP, 52*maxTCPSegments+1, 52),
			ErrAmplifies},
		"TCP, 64 KiB at the smallest MSS used": {super(false, protocolTCP, 65535-52, 536-12), nil},
		"UDP, less than the headers":           {super(false, protocolUDP, 600, 27), ErrAmplifies},
		"UDP, as many as there may be": {super(false, protocolUDP, 28*maxUDPSegments, 28),
			nil},
		"UDP, one more": {super(false, protocolUDP, 28*maxUDPSegments+1, 28),
			ErrAmplifies},
		"UDP over IPv6, less than the headers": {super(true, protocolUDP, 600, 47), ErrAmplifies},
	} {
		if err := Check(c.record); err != c.want { //nolint:errorlint // Check wraps nothing
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	// Packets that this side joins or merges are within them as well.
	var b Batch
	Segments(super(false, protocolTCP, 400, 20), func(ip []byte) {
		if p := added(ip); b.Join(p.Record(), true) {
			t.Error("segments smaller than their headers were joined")
		} else {
			b.Add(p)
		}
	})
	b.Reset()
}
