//go:build !race

package packet

import (
	"bytes"
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
	r := bytes.NewReader(nil)
	walk := func() {
		r.Reset(m)
		if err := in.Fill(r, FramingVnet); err != nil {
			t.Fatal(err)
		}
		for i := range in.Len() {
			if Check(in.Record(i)) != nil || Source(in.IP(i)) == Destination(in.IP(i)) || FlowHash(in.IP(i)) == 0 {
				t.Fatal("walked over something else")
			}
		}
	}
	walk()
	if n := testing.AllocsPerRun(100, walk); n != 0 {
		t.Errorf("reading and walking a batch allocates %v times; want 0", n)
	}
}
