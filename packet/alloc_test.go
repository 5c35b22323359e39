//go:build !race

package packet

import (
	"testing"
)

// The race detector's sync.Pool forgets at random, so this is not counted there.

// The hot path does not allocate once buffers have grown.
func TestBatchAllocates(t *testing.T) {
	var out, in Batch
	for range 100 {
		out.Add(added(ipv4("10.1.1.3", "10.1.1.1", 1400)))
	}
	m := message(&out, FramingVnet)
	walk := func() {
		if err := split(&in, m, FramingVnet); err != nil {
			t.Fatal(err)
		}
		for i := range in.Len() {
			if Check(in.Record(i)) != nil || Source(in.IP(i)) == Destination(in.IP(i)) ||
				FlowHash(in.IP(i)) == 0 {
				t.Fatal("walked over something else")
			}
		}
		in.Filter(func(i int) bool {
			if i%3 == 0 {
				in.Take(i).Free()
			}
			return i%2 == 1 && i%3 != 0
		})
		if in.Len() != 33 {
			t.Fatalf("%d records left", in.Len())
		}
	}
	walk()
	if n := testing.AllocsPerRun(100, walk); n != 0 {
		t.Errorf("reading, walking and filtering a batch allocates %v times; want 0", n)
	}
}

// Nor does taking packets apart and putting them together.
func TestSegmentsAllocate(t *testing.T) {
	for _, c := range superPackets() {
		var b Batch
		there := func() {
			n := 0
			Segments(c.record, func(ip []byte) {
				n++
				p := NewPacket(HeaderLen + len(ip))
				clear(p.Record()[:HeaderLen])
				copy(p.IP(), ip)
				if b.Join(p.Record(), true) {
					p.Free()
					return
				}
				b.Add(p)
			})
			b.Seal()
			if n < 2 || b.Len() != 1 {
				t.Fatalf("%s: %d segments became %d packets", c.name, n, b.Len())
			}
			b.Reset()
		}
		there()
		if n := testing.AllocsPerRun(100, there); n != 0 {
			t.Errorf("%s: segmentation and coalescing allocate %v times; want 0", c.name, n)
		}
	}
}
