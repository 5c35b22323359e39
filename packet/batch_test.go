package packet

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// added returns ip as a Packet with an empty header.
func added(ip []byte) *Packet {
	p := NewPacket(HeaderLen + len(ip))
	clear(p.Record()[:HeaderLen])
	copy(p.IP(), ip)
	return p
}

// message returns all records of b back to back, without headers for FramingIP.
func message(b *Batch, framing Framing) []byte {
	var m []byte
	for i := range b.Len() {
		m = append(m, b.Record(i)[b.Framing().HeaderLen()-framing.HeaderLen():]...)
	}
	return m
}

// split makes b the records of a whole message.
func split(b *Batch, message []byte, framing Framing) error {
	b.Reset()
	rest, err := b.Split(message, framing)
	if len(rest) > 0 {
		err = errors.Join(err, ErrShort)
	}
	return err
}

// pieces makes b the records of a message that grows by a byte at a time.
func pieces(b *Batch, message []byte, framing Framing) error {
	b.Reset()
	tail := 0
	for end := range len(message) + 1 {
		rest, err := b.Split(message[tail:end], framing)
		if err != nil {
			return err
		}
		tail = end - len(rest)
	}
	if tail < len(message) {
		return ErrShort
	}
	return nil
}

// A batch takes a bounded number of records from a message, and returns the rest.
func TestSplitEndsWhenFull(t *testing.T) {
	var b Batch
	one := ipv4("10.1.1.3", "10.1.1.1", 28)
	message := bytes.Repeat(one, 600)
	var got []int
	for len(message) > 0 {
		b.Reset()
		rest, err := b.Split(message, FramingIP)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Len())
		if b.Full() != (b.Len() == 256) || len(rest) != len(message)-b.Len()*len(one) {
			t.Fatalf("%d records, full: %v, %d bytes left of %d", b.Len(), b.Full(), len(rest),
				len(message))
		}
		message = rest
	}
	if !slices.Equal(got, []int{256, 256, 88}) {
		t.Errorf("batches of %v records", got)
	}
}

// A message that comes in the smallest pieces gives the records that were added, and Filter keeps
// order.
func TestBatchRoundTrip(t *testing.T) {
	want := [][]byte{ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 1400),
		ipv4("10.1.1.5", "10.1.1.1", 9000)}
	for _, framing := range []Framing{FramingIP, FramingVnet} {
		var out, in Batch
		for _, p := range want {
			out.Add(added(p))
		}
		for range 2 {
			err := pieces(&in, message(&out, framing), framing)
			if err != nil || in.Len() != len(want) || in.Framing() != framing {
				t.Fatalf("Split: %v with %d records", err, in.Len())
			}
		}
		for i, p := range want {
			if !bytes.Equal(in.IP(i), p) {
				t.Errorf("record %d differs", i)
			}
		}
		in.Filter(func(i int) bool { return in.IP(i)[0]>>4 == 4 })
		if in.Len() != 2 || !bytes.Equal(in.IP(0), want[0]) || !bytes.Equal(in.IP(1), want[2]) {
			t.Errorf("Filter kept the wrong records")
		}
		out.Reset()
		in.Reset()
		if out.Len() != 0 || in.Len() != 0 || in.Size() != 0 {
			t.Error("Reset left something")
		}
	}
}

// Take moves a packet that was added, and copies one out of a message; both come with a header.
func TestTake(t *testing.T) {
	ip := ipv4("10.1.1.3", "10.1.1.1", 100)
	var b Batch
	p := added(ip)
	b.Add(p)
	if got := b.Take(0); got != p {
		t.Error("an added packet was copied")
	}
	b.Reset() // must not free what was taken
	if !bytes.Equal(p.IP(), ip) {
		t.Error("the packet changed")
	}
	p.Free()
	if err := split(&b, ip, FramingIP); err != nil {
		t.Fatal(err)
	}
	got := b.Take(0)
	if !bytes.Equal(got.IP(), ip) || ParseHeader(got.Record()) != (Header{}) {
		t.Error("the copy differs")
	}
	got.Free()
}

func TestSplitRefuses(t *testing.T) {
	var b Batch
	p := ipv4("10.1.1.3", "10.1.1.1", 28)
	for name, c := range map[string]struct {
		message []byte
		framing Framing
		want    error
	}{
		"a cut record":   {append(bytes.Clone(p), p[:10]...), FramingIP, ErrShort},
		"a cut header":   {make([]byte, 9), FramingVnet, ErrShort},
		"a header alone": {make([]byte, 10), FramingVnet, ErrShort},
		"no packet":      {make([]byte, 11), FramingVnet, ErrMalformed},
		"a false length": {append([]byte{0x45, 0, 0, 19}, p[4:]...), FramingIP, ErrMalformed},
		"nothing":        {nil, FramingIP, nil},
	} {
		if err := split(&b, c.message, c.framing); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

// FuzzBatch: whatever an unauthenticated client sends, the records cover the message exactly or it
// is refused; and what passes Check can be segmented.
func FuzzBatch(f *testing.F) {
	f.Add(ipv4("10.1.1.3", "10.1.1.1", 28), false)
	f.Add(append(ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 48)...), false)
	f.Add([]byte{0x45, 0, 0, 19}, false)
	for _, c := range superPackets() {
		f.Add(c.record, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, vnet bool) {
		var b Batch
		framing := FramingIP
		if vnet {
			framing = FramingVnet
		}
		var slow Batch
		err := split(&b, data, framing)
		if piece := pieces(&slow, data, framing); (piece == nil) != (err == nil) {
			t.Fatalf("in one piece: %v; in many: %v", err, piece)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(message(&b, framing), data) {
			t.Fatalf("records do not cover %x", data)
		}
		for i := range b.Len() {
			if Source(b.IP(i)).BitLen() != Destination(b.IP(i)).BitLen() {
				t.Fatalf("addresses of two families in %x", b.IP(i))
			}
			FlowHash(b.IP(i))
			FlowOf(b.IP(i))
			if vnet && Check(b.Record(i)) == nil {
				Segments(b.Record(i), func(ip []byte) {
					if n, err := Length(ip); err != nil || n != len(ip) {
						t.Fatalf("segment %x: %d, %v", ip, n, err)
					}
				})
			}
		}
		b.Reset()
	})
}
