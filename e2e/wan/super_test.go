package wan

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"tunnel/packet"
)

// super returns a record as the kernel sends it: a TCP super-frame with payload bytes, and a
// timestamp option, size bytes of payload to a segment.
func super(v6 bool, payload, size int) []byte {
	const tcpHeader, needsChecksum, tsoV4, tsoV6 = 32, 1, 1, 4
	ipHeader, etherType, tso := 20, uint16(0x0800), uint8(tsoV4)
	if v6 {
		ipHeader, etherType, tso = 40, 0x86dd, tsoV6
	}
	frame := make([]byte, ethernetLen+ipHeader+tcpHeader+payload)
	copy(frame, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	binary.BigEndian.PutUint16(frame[12:], etherType)
	ip := frame[ethernetLen:]
	if v6 {
		ip[0], ip[6], ip[7] = 0x60, 6, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(tcpHeader+payload))
	} else {
		copy(ip, []byte{0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	}
	tcp := ip[ipHeader:]
	tcp[12], tcp[13] = tcpHeader/4<<4, 0x10 // ACK
	copy(tcp[20:], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
	for i := range tcp[tcpHeader:] {
		tcp[tcpHeader+i] = byte(i * 7 / 3)
	}
	record := make([]byte, packet.HeaderLen, packet.HeaderLen+len(frame))
	packet.Header{
		Flags: needsChecksum, GSOType: tso, GSOSize: uint16(size),
		HeaderLength:  uint16(len(frame) - payload),
		ChecksumStart: uint16(ethernetLen + ipHeader), ChecksumOffset: 16,
	}.Put(record)
	return append(record, frame...)
}

// frames returns the Ethernet frames that a record stands for.
func frames(record []byte) (all [][]byte) {
	record = bytes.Clone(record)
	ethernet := [ethernetLen]byte(record[packet.HeaderLen:])
	h := packet.ParseHeader(record)
	if h.Segmented() {
		h.ChecksumStart -= ethernetLen
	}
	h.Put(record[ethernetLen:])
	packet.Segments(record[ethernetLen:], func(ip []byte) {
		all = append(all, append(ethernet[:], ip...))
	})
	return all
}

// A super-frame counts as the bytes of the frames that it stands for.
func TestSuperShape(t *testing.T) {
	t.Parallel()
	for _, record := range [][]byte{
		super(false, 64000, 1448), super(true, 60001, 1428), super(false, 2897, 1448),
	} {
		s, want := superShape(record), frames(record)
		if s.segments != len(want) || s.spared {
			t.Fatalf("%+v for %d segments", s, len(want))
		}
		for i, f := range want {
			if s.bytes(i) != len(f) {
				t.Errorf("segment %d has %d bytes, want %d", i, s.bytes(i), len(f))
			}
		}
	}
	ack := super(false, 0, 1448)
	packet.Header{}.Put(ack)
	if got := superShape(ack); got != (shape{segments: 1, last: 66}) {
		t.Errorf("a plain frame has the shape %+v", got)
	}
}

// Exactly the segments that are not missing arrive, in order, in as few frames as have no gap.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	for _, v6 := range []bool{false, true} {
		record := super(v6, 14000, 1400)
		all := frames(record)
		for _, c := range []struct {
			missing []int
			records int
		}{
			{[]int{0}, 1}, {[]int{9}, 1}, {[]int{4}, 2}, {[]int{1, 8}, 3}, {[]int{3, 4, 5}, 2},
			{[]int{0, 2, 4, 6, 8}, 5}, {[]int{0, 1, 2, 3, 4, 5, 6, 7, 8}, 1},
		} {
			missing, want := make([]bool, len(all)), [][]byte{}
			for _, i := range c.missing {
				missing[i] = true
			}
			for i, f := range all {
				if !missing[i] {
					want = append(want, f)
				}
			}
			records, got := 0, [][]byte{}
			if err := survivors(bytes.Clone(record), missing, func(record []byte) error {
				records++
				got = append(got, frames(record)...)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if records != c.records {
				t.Errorf("without %v: %d records, want %d", c.missing, records, c.records)
			}
			if len(got) != len(want) {
				t.Fatalf("without %v: %d segments, want %d", c.missing, len(got), len(want))
			}
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("without %v: segment %d\n%x\nwant\n%x", c.missing, i, got[i][:80],
						want[i][:80])
				}
			}
		}
	}
}

// Super-frames take as long as their segments, and arrive with the last of them.
func TestSuperPace(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Rate: 8_000_000, Delay: 20 * time.Millisecond}) // 1 byte a microsecond
	for range 3 {
		d.offer(0, packet.NewPacket(1), shape{segments: 10, size: 1000, last: 500})
	}
	want := []time.Duration{29500, 39000, 48500}
	got := arrivals(&d)
	if len(got) != len(want) {
		t.Fatalf("arrivals %v", got)
	}
	for i := range want {
		if got[i] != want[i]*time.Microsecond {
			t.Errorf("super-frame %d arrives at %v, want %v µs", i, got[i], want[i])
		}
	}
	if d.stats != (Stats{Passed: 30, Bytes: 28500}) {
		t.Errorf("%+v", d.stats)
	}
}

// The queue takes the segments that fit, and drops the others of the same super-frame.
func TestSuperQueueLimit(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Rate: 8_000_000, Queue: 5000})
	ten := shape{segments: 10, size: 1000, last: 1000}
	if !d.offer(0, packet.NewPacket(1), ten) || d.offer(0, packet.NewPacket(1), ten) {
		t.Error("want the first super-frame kept in part, the second dropped")
	}
	f, _, _ := d.arrive(time.Second)
	for i, missing := range f.missing {
		if missing != (i >= 5) {
			t.Errorf("segment %d is missing: %v", i, missing)
		}
	}
	if d.stats != (Stats{Passed: 5, Bytes: 5000, Dropped: 15}) {
		t.Errorf("%+v", d.stats)
	}
}

// The same seed loses the same segments, in super-frames as in single frames.
func TestSuperLoss(t *testing.T) {
	t.Parallel()
	const n = 50_000
	fate := func(segments int) (missing []bool) {
		var d direction
		d.set(Link{Loss: 0.01, Seed: 1})
		for range n / segments {
			d.offer(0, packet.NewPacket(1), shape{segments: segments, size: 100, last: 100})
			f, deliver, _ := d.arrive(0)
			for i := range segments {
				missing = append(missing, !deliver || f.missing != nil && f.missing[i])
			}
		}
		if int(d.stats.Lost) != count(missing) || d.stats.Passed+d.stats.Lost != n {
			t.Errorf("%+v, with %d of %d missing", d.stats, count(missing), n)
		}
		return missing
	}
	single, joined := fate(1), fate(40)
	for i := range single {
		if single[i] != joined[i] {
			t.Fatalf("segment %d is lost: %v alone, %v in a super-frame", i, single[i], joined[i])
		}
	}
	if lost := count(single); lost < 400 || lost > 600 {
		t.Errorf("%d of %d lost at 1 %%", lost, n)
	}
}
