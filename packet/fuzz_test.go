package packet

import (
	"bytes"
	"testing"
)

// FuzzDropSegment: a record from a client may be marked in a queue and lose segments. The rest has
// the other segments, byte for byte, and is still a record that Check accepts.
func FuzzDropSegment(f *testing.F) {
	for _, c := range superPackets() {
		f.Add(c.record)
	}
	f.Add(append(make([]byte, HeaderLen), ipv4("10.1.1.3", "10.1.1.5", 28)...))
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) < HeaderLen || len(record) > HeaderLen+MaxPacket {
			return
		}
		if n, err := Length(record[HeaderLen:]); err != nil || n != len(record)-HeaderLen ||
			Check(record) != nil {
			return
		}
		p := NewPacket(len(record))
		defer func() { p.Free() }()
		copy(p.Record(), record)
		for range 3 {
			MarkCE(p.IP())
			want := segments(p.Record())
			if !p.DropSegment() {
				if len(want) > 1 {
					t.Fatalf("no segment of %d goes", len(want))
				}
				return
			}
			if n, err := Length(p.IP()); err != nil || n != len(p.IP()) {
				t.Fatalf("%d bytes are left, with a length of %d: %v", len(p.IP()), n, err)
			}
			if err := Check(p.Record()); err != nil {
				t.Fatalf("what is left of %x is refused: %v", record, err)
			}
			got := segments(p.Record())
			if len(got) != len(want)-1 {
				t.Fatalf("%d segments of %d are left", len(got), len(want))
			}
			for i := range got {
				if !bytes.Equal(got[i], want[i+1]) {
					t.Fatalf("segment %d of %d differs:\n%x\n%x", i+1, len(want), got[i], want[i+1])
				}
			}
		}
	})
}

// segments returns the packets that a record stands for, and leaves it alone.
func segments(record []byte) (all [][]byte) {
	Segments(bytes.Clone(record), func(ip []byte) { all = append(all, bytes.Clone(ip)) })
	return all
}
