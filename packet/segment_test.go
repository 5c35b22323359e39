package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// superPacket is a record that stands for several packets.
type superPacket struct {
	name   string
	record []byte
}

// superPackets returns one of each kind, with payloads whose last segment is short.
func superPackets() []superPacket {
	return []superPacket{
		{"TSO4", super(false, protocolTCP, 5000, 1360)},
		{"TSO6", super(true, protocolTCP, 5000, 1340)},
		{"USO4", super(false, protocolUDP, 1000, 64)},
		{"USO6", super(true, protocolUDP, 1001, 100)},
		{"TSO4, one byte more than a segment", super(false, protocolTCP, 1361, 1360)},
		{"TSO4, largest", super(false, protocolTCP, 65535-52, 1348)},
	}
}

// super makes a super-packet as the kernel does: partial checksum, lengths of the whole.
func super(v6 bool, protocol uint8, payload, size int) []byte {
	header := udpHeaderLen
	if protocol == protocolTCP {
		header = 32 // with a timestamp option
	}
	var ip []byte
	if v6 {
		ip = ipv6("fd00::3", "fd00::1", ipv6HeaderLen+header+payload)
		ip[6], ip[7] = protocol, 64
	} else {
		ip = ipv4("10.1.1.3", "10.1.1.1", ipv4MinHeaderLen+header+payload)
		ip[6], ip[8], ip[9] = 0x40, 64, protocol
		binary.BigEndian.PutUint16(ip[4:], 0xfffe) // wraps
		headerChecksum(ip)
	}
	offset := len(ip) - header - payload
	t := ip[offset:]
	binary.BigEndian.PutUint16(t, 40000)
	binary.BigEndian.PutUint16(t[2:], 9)
	h := Header{Flags: flagNeedsChecksum, HeaderLength: uint16(offset + header),
		GSOSize: uint16(size), ChecksumStart: uint16(offset)}
	if protocol == protocolTCP {
		h.GSOType, h.ChecksumOffset = gsoTCPv4, tcpChecksum
		if v6 {
			h.GSOType = gsoTCPv6
		}
		binary.BigEndian.PutUint32(t[4:], 0xffffff00) // wraps
		t[12], t[13] = 0x80, 0x18                     // PSH, ACK
		copy(t[20:], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
		binary.BigEndian.PutUint16(t[14:], 512)
	} else {
		h.GSOType, h.ChecksumOffset = gsoUDP, udpChecksum
		binary.BigEndian.PutUint16(t[4:], uint16(header+payload))
	}
	r := rand.New(rand.NewPCG(1, uint64(payload)))
	for i := range t[header:] {
		t[header+i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint16(t[h.ChecksumOffset:], fold(pseudoHeader(ip, protocol, len(t))))
	record := append(make([]byte, HeaderLen), ip...)
	h.Put(record)
	return record
}

// valid reports whether all checksums of an IP packet are right.
func valid(ip []byte) bool {
	if ip[0]>>4 == 4 && fold(sum(ip[:int(ip[0]&15)*4], 0)) != 0xffff {
		return false
	}
	t, ok := transportOf(ip)
	return ok && fold(sum(ip[t.offset:], pseudoHeader(ip, t.protocol, len(ip)-t.offset))) == 0xffff
}

// Segments are valid packets whose payloads make up the whole; TestSegmentsLikeKernel compares
// every byte.
func TestSegments(t *testing.T) {
	for _, c := range superPackets() {
		if err := Check(c.record); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		whole := c.record[HeaderLen:]
		tr, _ := transportOf(whole)
		want := bytes.Clone(whole[tr.payload:])
		var got []byte
		Segments(c.record, func(ip []byte) {
			if !valid(ip) {
				t.Errorf("%s: a segment's checksums are wrong", c.name)
			}
			got = append(got, ip[tr.payload:]...)
		})
		if !bytes.Equal(got, want) {
			t.Errorf("%s: payload differs", c.name)
		}
	}
}

// Join restores the packets that Segments has segmented.
func TestJoinUndoesSegments(t *testing.T) {
	for _, c := range superPackets() {
		var b Batch
		joined := 0
		Segments(bytes.Clone(c.record), func(ip []byte) {
			p := added(ip)
			if b.Join(p.Record(), true) {
				joined++
				p.Free()
				return
			}
			b.Add(p)
		})
		b.Seal()
		if b.Len() != 1 || joined == 0 {
			t.Errorf("%s: %d records, %d joined; want one", c.name, b.Len(), joined)
			continue
		}
		if err := Check(b.Record(0)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !bytes.Equal(b.Record(0), c.record) {
			t.Errorf("%s: differs\n got %x\nwant %x", c.name, b.Record(0)[:80], c.record[:80])
		}
		if b.Size() != len(c.record) {
			t.Errorf("%s: Size %d; want %d", c.name, b.Size(), len(c.record))
		}
		b.Reset()
	}
}

// Packets that are not a run are not joined.
func TestJoinRefuses(t *testing.T) {
	segments := func(record []byte) (all [][]byte) {
		Segments(bytes.Clone(record), func(ip []byte) { all = append(all, bytes.Clone(ip)) })
		return all
	}
	udp := func(payload,
		size int) [][]byte {
		return segments(super(false, protocolUDP, payload, size))
	}
	tcp := segments(super(false, protocolTCP, 5440, 1360))
	change := func(ip []byte, at int, to byte) []byte {
		ip = bytes.Clone(ip)
		ip[at] = to
		tr, _ := transportOf(ip)
		binary.BigEndian.PutUint16(ip[tr.offset+tr.checksum:], fold(pseudoHeader(ip, tr.protocol,
			len(ip)-tr.offset)))
		complete(ip, Header{ChecksumStart: uint16(tr.offset), ChecksumOffset: uint16(tr.checksum)})
		return ip
	}
	damaged := bytes.Clone(udp(200, 100)[1])
	damaged[60]++
	unsummed := bytes.Clone(udp(200, 100)[1])
	unsummed[26], unsummed[27] = 0, 0
	for name, pair := range map[string][2][]byte{
		"a larger datagram":             {udp(100, 50)[0], udp(100, 51)[0]},
		"another port":                  {udp(200, 100)[0], change(udp(200, 100)[1], 23, 7)},
		"another address":               {udp(200, 100)[0], change(udp(200, 100)[1], 15, 7)},
		"another type of service":       {udp(200, 100)[0], change(udp(200, 100)[1], 1, 3)},
		"another protocol":              {udp(2720, 1360)[0], tcp[1]},
		"a damaged datagram":            {udp(200, 100)[0], damaged},
		"a datagram without a checksum": {udp(200, 100)[0], unsummed},
		"a gap":                         {tcp[0], tcp[2]},
		"another acknowledgment":        {tcp[0], change(tcp[1], 31, 1)},
		"a FIN":                         {tcp[0], change(tcp[1], 33, 0x11)},
		"after a PSH":                   {change(tcp[0], 33, 0x18), tcp[1]},
		"another timestamp":             {tcp[0], change(tcp[1], 47, 9)},
		"IPv6 behind IPv4": {tcp[0], segments(super(true, protocolTCP, 5000,
			1340))[1]},
	} {
		var b Batch
		b.Add(added(pair[0]))
		p := added(pair[1])
		if b.Join(p.Record(), true) {
			t.Errorf("%s was joined", name)
		}
		p.Free()
		b.Seal()
		if !bytes.Equal(b.IP(0), pair[0]) {
			t.Errorf("%s: the first packet changed", name)
		}
		b.Reset()
	}
	var b Batch
	p := added(udp(200, 100)[0])
	b.Add(p)
	if b.Join(added(udp(200, 100)[1]).Record(), false) {
		t.Error("UDP was joined for a kernel that does not take it")
	}
	if b.Join(make([]byte, HeaderLen+40), true) || (&Batch{}).Join(p.Record(), true) {
		t.Error("garbage was joined, or something to nothing")
	}
}

func TestCheckRefuses(t *testing.T) {
	good := func() []byte { return super(false, protocolTCP, 5000, 1360) }
	alter := func(f func(h *Header)) []byte {
		r := good()
		h := ParseHeader(r)
		f(&h)
		h.Put(r)
		return r
	}
	fragment := good()
	fragment[HeaderLen+6] = 0x20
	for name, r := range map[string][]byte{
		"short":                   good()[:9],
		"an unknown flag":         alter(func(h *Header) { h.Flags |= 4 }),
		"an unknown type":         alter(func(h *Header) { h.GSOType = 2 }),
		"UFO":                     alter(func(h *Header) { h.GSOType = 3 }),
		"the other family's type": alter(func(h *Header) { h.GSOType = gsoTCPv6 }),
		"UDP's type":              alter(func(h *Header) { h.GSOType = gsoUDP }),
		"no segment size":         alter(func(h *Header) { h.GSOSize = 0 }),
		"no checksum":             alter(func(h *Header) { h.Flags = 0 }),
		"a checksum elsewhere":    alter(func(h *Header) { h.ChecksumStart++ }),
		"a checksum of UDP":       alter(func(h *Header) { h.ChecksumOffset = udpChecksum }),
		"a checksum behind the end": alter(
			func(h *Header) { h.GSOType = 0; h.ChecksumStart = 65000 }),
		"a header longer than all":     alter(func(h *Header) { h.HeaderLength = 65000 }),
		"a super-packet of a fragment": fragment,
	} {
		if err := Check(r); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %v; want ErrHeader", name, err)
		}
	}
	plain := added(ipv4("10.1.1.3", "10.1.1.1", 40)).Record()
	Header{Flags: flagDataValid}.Put(plain)
	if err := Check(plain); err != nil {
		t.Errorf("a packet whose checksum is known to be right: %v", err)
	}
}

// The sum in 64-bit words is the sum of RFC 1071 in 16-bit words.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := make([]byte, r.IntN(200))
		for i := range p {
			p[i] = byte(r.Uint32())
			if r.IntN(3) == 0 {
				p[i] = 0xff
			}
		}
		var slow uint32
		for i, b := range p {
			slow += uint32(b) << (8 * (1 - i%2))
			slow = slow>>16 + slow&0xffff
		}
		if got := fold(sum(p, 0)); got != uint16(slow) && (got%0xffff != 0 || slow%0xffff != 0) {
			t.Fatalf("sum(%x) = %#x; want %#x", p, got, slow)
		}
	}
}

func TestMarkCE(t *testing.T) {
	for ecn, want := range map[byte]bool{0: false, 1: true, 2: true, 3: true} {
		p4, p6 := ipv4("10.1.1.3", "10.1.1.1", 40), ipv6("fd00::3", "fd00::1", 60)
		p4[1] = 0xb8 | ecn
		p6[0], p6[1] = 0x6b, 0x8f|ecn<<4
		headerChecksum(p4)
		if MarkCE(p4) != want || MarkCE(p6) != want {
			t.Errorf("ECN field %d: not %v", ecn, want)
		}
		if want && (p4[1] != 0xbb || p6[1] != 0xbf || p6[0] != 0x6b) {
			t.Errorf("ECN field %d: %x, %x", ecn, p4[1], p6[:2])
		}
		if fold(sum(p4[:20], 0)) != 0xffff {
			t.Errorf("ECN field %d: the header's checksum is wrong", ecn)
		}
	}
}

// A super-packet that has lost its first segment stands for all its others, to the last.
func TestDropSegment(t *testing.T) {
	for _, c := range superPackets() {
		var want [][]byte
		Segments(bytes.Clone(c.record), func(ip []byte) { want = append(want, bytes.Clone(ip)) })
		p := NewPacket(len(c.record))
		copy(p.Record(), c.record)
		for left := len(want) - 1; left > 0; left-- {
			if !p.DropSegment() {
				t.Fatalf("%s: refused with %d segments left", c.name, left+1)
			}
			if err := Check(p.Record()); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			var got [][]byte
			Segments(bytes.Clone(p.Record()),
				func(ip []byte) { got = append(got, bytes.Clone(ip)) })
			if len(got) != left {
				t.Fatalf("%s: %d segments; want %d", c.name, len(got), left)
			}
			for i := range got {
				if !bytes.Equal(got[i], want[len(want)-left+i]) {
					t.Fatalf("%s: segment %d differs\n got %x\nwant %x", c.name, i, got[i][:60],
						want[len(want)-left+i][:60])
				}
			}
		}
		if p.DropSegment() {
			t.Errorf("%s: a single packet was cut", c.name)
		}
		p.Free()
	}
}
