package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"testing/iotest"
)

// ipv4 returns an IPv4 packet of n bytes from src to dst; only the fields that this package reads are set.
func ipv4(src, dst string, n int) []byte {
	p := make([]byte, n)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	return p
}

func ipv6(src, dst string, n int) []byte {
	p := make([]byte, n)
	p[0] = 0x60
	binary.BigEndian.PutUint16(p[4:], uint16(n-ipv6HeaderLen))
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(p[8:], s[:])
	copy(p[24:], d[:])
	return p
}

func TestAddresses(t *testing.T) {
	for _, p := range [][]byte{ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 48)} {
		if n, err := Length(append(p, 0xff)); err != nil || n != len(p) {
			t.Errorf("Length = %d, %v; want %d", n, err, len(p))
		}
	}
	if got := Source(ipv4("10.1.1.3", "10.1.1.1", 20)); got != netip.MustParseAddr("10.1.1.3") {
		t.Errorf("Source = %v", got)
	}
	if got := Destination(ipv6("fd00::3", "fd00::1", 40)); got != netip.MustParseAddr("fd00::1") {
		t.Errorf("Destination = %v", got)
	}
}

func TestLengthRefuses(t *testing.T) {
	good := ipv4("10.1.1.3", "10.1.1.1", 40)
	short := bytes.Clone(good)
	short[3] = 19
	optionsCutOff := bytes.Clone(good)
	optionsCutOff[0] = 0x4f
	for name, p := range map[string][]byte{
		"nothing":                 {},
		"IPv4 header cut":         good[:19],
		"IPv6 header cut":         ipv6("fd00::3", "fd00::1", 40)[:39],
		"packet cut":              good[:39],
		"total length < header":   short,
		"header length > packet":  optionsCutOff,
		"header length under 20":  append([]byte{0x44}, good[1:]...),
		"version 5":               append([]byte{0x55}, good[1:]...),
		"version 0 (all zeroes)":  make([]byte, 64),
		"IPv6 payload out of end": append(ipv6("fd00::3", "fd00::1", 40)[:4], append([]byte{0, 9}, make([]byte, 34)...)...),
	} {
		if n, err := Length(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Length = %d, %v; want ErrMalformed", name, n, err)
		}
	}
}

// A message read in the smallest pieces gives the records that were appended, and Filter keeps order.
func TestBatchRoundTrip(t *testing.T) {
	var out Batch
	want := [][]byte{ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 1400), ipv4("10.1.1.5", "10.1.1.1", 9000)}
	for _, p := range want {
		out.Append(p)
	}
	var in Batch
	for range 2 {
		n, err := in.ReadFrom(iotest.OneByteReader(bytes.NewReader(out.Bytes())))
		if err != nil || int(n) != out.Size() || in.Len() != len(want) {
			t.Fatalf("ReadFrom = %d, %v with %d records; want %d bytes, %d records", n, err, in.Len(), out.Size(), len(want))
		}
	}
	for i, p := range want {
		if !bytes.Equal(in.Record(i), p) {
			t.Errorf("record %d differs", i)
		}
	}
	in.Filter(func(p []byte) bool { return p[0]>>4 == 4 })
	if in.Len() != 2 || !bytes.Equal(in.Record(0), want[0]) || !bytes.Equal(in.Record(1), want[2]) {
		t.Errorf("Filter kept the wrong records")
	}
}

func TestReadFromRefuses(t *testing.T) {
	var b Batch
	p := ipv4("10.1.1.3", "10.1.1.1", 28)
	if _, err := b.ReadFrom(bytes.NewReader(append(bytes.Clone(p), p[:10]...))); !errors.Is(err, ErrMalformed) {
		t.Errorf("a cut record: %v; want ErrMalformed", err)
	}
	if _, err := b.ReadFrom(bytes.NewReader(make([]byte, MaxBatch+1))); !errors.Is(err, ErrTooLong) {
		t.Errorf("an endless message: %v; want ErrTooLong", err)
	}
	if _, err := b.ReadFrom(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(p)))); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("a reader that fails: %v; want its error", err)
	}
	if _, err := b.ReadFrom(bytes.NewReader(nil)); err != nil || b.Len() != 0 {
		t.Errorf("an empty message: %v, %d records; want an empty batch", err, b.Len())
	}
}

func TestExtend(t *testing.T) {
	var b Batch
	p := ipv4("10.1.1.3", "10.1.1.1", 100)
	copy(b.Room(200), p)
	if err := b.Extend(99); !errors.Is(err, ErrMalformed) || b.Len() != 0 || b.Size() != 0 {
		t.Errorf("Extend by a cut packet: %v, %d records", err, b.Len())
	}
	if err := b.Extend(101); !errors.Is(err, ErrMalformed) {
		t.Errorf("Extend by a packet and a byte: %v", err)
	}
	if err := b.Extend(100); err != nil || b.Len() != 1 || !bytes.Equal(b.Record(0), p) {
		t.Errorf("Extend: %v, %d records", err, b.Len())
	}
}

// The hot path does not allocate once the buffers have grown.
func TestBatchAllocates(t *testing.T) {
	var out, in Batch
	for range 100 {
		out.Append(ipv4("10.1.1.3", "10.1.1.1", 1400))
	}
	r := bytes.NewReader(nil)
	walk := func() {
		r.Reset(out.Bytes())
		if _, err := in.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		for i := range in.Len() {
			if Source(in.Record(i)) == Destination(in.Record(i)) {
				t.Fatal("addresses mixed up")
			}
		}
	}
	walk()
	if n := testing.AllocsPerRun(100, walk); n != 0 {
		t.Errorf("reading and walking a batch allocates %v times; want 0", n)
	}
}

// FuzzBatch: whatever a stranger sends, the records cover the message exactly or it is refused.
func FuzzBatch(f *testing.F) {
	f.Add(ipv4("10.1.1.3", "10.1.1.1", 28))
	f.Add(append(ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 48)...))
	f.Add([]byte{0x45, 0, 0, 19})
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Batch
		if _, err := b.ReadFrom(bytes.NewReader(data)); err != nil {
			return
		}
		var joined []byte
		for i := range b.Len() {
			p := b.Record(i)
			if Source(p).BitLen() != Destination(p).BitLen() {
				t.Fatalf("addresses of two families in %x", p)
			}
			joined = append(joined, p...)
		}
		if !bytes.Equal(joined, data) {
			t.Fatalf("records %x do not cover %x", joined, data)
		}
	})
}
