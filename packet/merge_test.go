package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// inOneBuffer returns a batch whose records lie as those of a message do.
func inOneBuffer(t testing.TB, records ...[]byte) *Batch {
	t.Helper()
	b := new(Batch)
	if rest, err := b.Split(bytes.Join(records, nil), FramingVnet); err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	return b
}

// stream returns a super-packet of TCP in pieces of so many segments each; all but the last are
// full.
func stream(v6 bool, payload, size, segmentsEach int) (whole []byte, pieces [][]byte) {
	whole = super(v6, protocolTCP, payload, size)
	rest := NewPacket(len(whole))
	defer rest.Free()
	copy(rest.Record(), whole)
	for range 1000 {
		piece := bytes.Clone(rest.Record())
		n := segmentsEach * size
		tr, _ := transportOf(piece[HeaderLen:])
		if len(piece)-HeaderLen-tr.payload <= n {
			return whole, append(pieces, piece)
		}
		piece = piece[:HeaderLen+tr.payload+n]
		p := pieceOf(piece)
		p.grown = true // so that its lengths are set
		p.seal()
		if n == size {
			p.h.GSOType, p.h.GSOSize = gsoNone, 0
			p.h.Put(p.record)
		}
		pieces = append(pieces, p.record)
		for range segmentsEach {
			rest.DropSegment()
		}
	}
	return nil, nil
}

// The pieces of a super-packet are merged into it again, byte for byte.
func TestMerge(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, each := range []int{1, 2, 3, 7} {
			whole, pieces := stream(v6, 30*1340+17, 1340, each)
			b := inOneBuffer(t, pieces...)
			b.Merge()
			if b.Len() != 1 {
				t.Errorf("v6 %v: %d records are left of %d", v6, b.Len(), len(pieces))
				continue
			}
			if err := Check(b.Record(0)); err != nil {
				t.Errorf("v6 %v: %v", v6, err)
			}
			if !bytes.Equal(b.Record(0), whole) {
				t.Errorf("v6 %v, %d segments each: another packet has come of it:\n%x\n%x", v6,
					each, b.Record(0)[:90], whole[:90])
			}
		}
	}
}

// The newest timestamps, acknowledgment and window stand for all.
func TestMergeTakesTheNewest(t *testing.T) {
	_, pieces := stream(false, 4*1340, 1340, 2)
	newer := pieces[1][HeaderLen+ipv4MinHeaderLen:]
	binary.BigEndian.PutUint32(newer[8:], 77)
	binary.BigEndian.PutUint16(newer[14:], 99)
	binary.BigEndian.PutUint32(newer[24:], 0x01020399)
	b := inOneBuffer(t, pieces...)
	b.Merge()
	if b.Len() != 1 {
		t.Fatalf("%d records", b.Len())
	}
	got := b.IP(0)[ipv4MinHeaderLen:]
	if binary.BigEndian.Uint32(got[8:]) != 77 || binary.BigEndian.Uint16(got[14:]) != 99 ||
		binary.BigEndian.Uint32(got[24:]) != 0x01020399 {
		t.Errorf("header %x", got[:32])
	}
	for _, ip := range segments(b.Record(0)) {
		if !valid(ip) {
			t.Error("a checksum is wrong")
		}
	}
}

// Packets that must not be merged stay unchanged.
func TestMergeLeavesAlone(t *testing.T) {
	tcp := func(piece []byte) []byte { return piece[HeaderLen+ipv4MinHeaderLen:] }
	for name, change := range map[string]func(first, second []byte) []byte{
		"a gap":             func(_, s []byte) []byte { tcp(s)[7]++; return s },
		"another port":      func(_, s []byte) []byte { tcp(s)[1]++; return s },
		"another source":    func(_, s []byte) []byte { s[HeaderLen+15]++; return s },
		"a congestion mark": func(_, s []byte) []byte { s[HeaderLen+1] |= 3; return s },
		"may be fragmented": func(f, s []byte) []byte {
			f[HeaderLen+6], s[HeaderLen+6] = 0,
				0
			return s
		},
		"FIN":             func(_, s []byte) []byte { tcp(s)[13] |= tcpFIN; return s },
		"CWR":             func(_, s []byte) []byte { tcp(s)[13] |= tcpCWR; return s },
		"other options":   func(_, s []byte) []byte { tcp(s)[20] = 5; return s },
		"a full checksum": func(_, s []byte) []byte { s[0] = 0; s[1] = 0; return s },
		"larger segments": func(f,
			s []byte) []byte {
			binary.LittleEndian.PutUint16(f[4:], 670)
			return s
		},
		"a short one before": func(f,
			s []byte) []byte {
			binary.LittleEndian.PutUint16(f[4:], 1339)
			return s
		},
	} {
		_, pieces := stream(false, 4*1340, 1340, 2)
		pieces[1] = change(pieces[0], pieces[1])
		b := inOneBuffer(t, pieces...)
		b.Merge()
		if b.Len() != 2 || !bytes.Equal(b.Record(0), pieces[0]) || !bytes.Equal(b.Record(1),
			pieces[1]) {
			t.Errorf("%s: %d records are left, or they were changed", name, b.Len())
		}
	}
	_, pieces := stream(false, 40*1340, 1340, 10)
	more := bytes.Clone(pieces[0])
	binary.BigEndian.PutUint32(tcp(more)[4:], binary.BigEndian.Uint32(tcp(more)[4:])+40*1340)
	b := inOneBuffer(t, append(pieces, more)...)
	b.Merge()
	if b.Len() != 2 {
		t.Errorf("%d records of 67,000 bytes", b.Len())
	}
}

// acknowledgment returns a record that only acknowledges.
func acknowledgment(n uint32) []byte {
	record := super(false, protocolTCP, 1340, 1340)[:HeaderLen+ipv4MinHeaderLen+32]
	ip := record[HeaderLen:]
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	headerChecksum(ip)
	binary.BigEndian.PutUint32(ip[ipv4MinHeaderLen+8:], n)
	ip[ipv4MinHeaderLen+13] = 0x10
	binary.BigEndian.PutUint16(ip[ipv4MinHeaderLen+tcpChecksum:], fold(pseudoHeader(ip, protocolTCP,
		32)))
	Header{Flags: flagNeedsChecksum, ChecksumStart: ipv4MinHeaderLen,
		ChecksumOffset: tcpChecksum}.Put(record)
	return record
}

// Of acknowledgments that say nothing else the newest is left, but not for too much at once, and
// the same again is news.
func TestMergeAcknowledgments(t *testing.T) {
	sack := acknowledgment(6000)
	sack[HeaderLen+ipv4MinHeaderLen+22] = 5
	for name, c := range map[string]struct {
		in   [][]byte
		left []uint32
	}{
		"a run": {[][]byte{acknowledgment(1), acknowledgment(3000),
			acknowledgment(6000)}, []uint32{6000}},
		"round the end": {[][]byte{acknowledgment(1<<32 - 9), acknowledgment(9)}, []uint32{9}},
		"the same again": {[][]byte{acknowledgment(1), acknowledgment(1), acknowledgment(1)},
			[]uint32{1, 1, 1}},
		"an older one": {[][]byte{acknowledgment(9), acknowledgment(8)}, []uint32{9, 8}},
		"selective": {[][]byte{acknowledgment(1), sack, acknowledgment(7000)},
			[]uint32{1, 6000, 7000}},
		"too much at once": {[][]byte{acknowledgment(1), acknowledgment(maxForward),
			acknowledgment(maxForward + 2)}, []uint32{maxForward, maxForward + 2}},
	} {
		b := inOneBuffer(t, c.in...)
		b.Merge()
		var left []uint32
		for i := range b.Len() {
			left = append(left, binary.BigEndian.Uint32(b.IP(i)[ipv4MinHeaderLen+8:]))
			if !bytes.Equal(b.Record(i), acknowledgment(left[i])) && name != "selective" {
				t.Errorf("%s: record %d was changed", name, i)
			}
		}
		if len(left) != len(c.left) {
			t.Errorf("%s: %v are left, not %v", name, left, c.left)
			continue
		}
		for i := range left {
			if left[i] != c.left[i] {
				t.Errorf("%s: %v are left, not %v", name, left, c.left)
			}
		}
	}
}

// FuzzMerge: whatever peers send, nothing malformed comes of it, and the payload is the same.
func FuzzMerge(f *testing.F) {
	for _, each := range []int{1, 2, 3} {
		_, pieces := stream(each == 2, 9*1340, 1340, each)
		f.Add(bytes.Join(pieces, nil))
	}
	f.Add(bytes.Join([][]byte{acknowledgment(1), acknowledgment(2), acknowledgment(3)}, nil))
	f.Fuzz(func(t *testing.T, message []byte) {
		var b Batch
		if _, err := b.Split(bytes.Clone(message), FramingVnet); err != nil {
			return
		}
		bad := func() (n int) {
			for i := range b.Len() {
				if Check(b.Record(i)) != nil {
					n++
				}
			}
			return n
		}
		refused := bad()
		payload := func() (all []byte) {
			for i := range b.Len() {
				if t, ok := transportOf(b.IP(i)); ok && t.protocol == protocolTCP {
					all = append(all, b.IP(i)[t.payload:]...)
				}
			}
			return all
		}
		before := payload()
		b.Merge()
		if !bytes.Equal(payload(), before) {
			t.Error("the payload differs")
		}
		for i := range b.Len() {
			if n, err := Length(b.IP(i)); err != nil || n != len(b.IP(i)) {
				t.Errorf("record %d has %d bytes and says %d: %v", i, len(b.IP(i)), n, err)
			}
		}
		if n := bad(); n > refused {
			t.Errorf("%d records are malformed, and %d were", n, refused)
		}
	})
}
