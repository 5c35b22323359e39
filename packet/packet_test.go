package packet

import (
	"bytes"
	"testing"
)

// A packet takes a buffer of the smallest size that holds it: what waits for a stalled peer is
// bounded by buffers.
func TestRoom(t *testing.T) {
	for n, want := range map[int]int{
		0: 2 << 10, 60: 2 << 10, 2 << 10: 2 << 10, 2<<10 + 1: 16 << 10, HeaderLen + 9000: 16 << 10,
		16 << 10:   16 << 10,
		16<<10 + 1: largeRoom, HeaderLen + MaxPacket: largeRoom,
	} {
		for range 2 { // made, and from the pool
			p := NewPacket(n)
			if p.Len() != n || p.Room() != want {
				t.Errorf("%d bytes: Len %d in %d; want a buffer of %d", n, p.Len(), p.Room(), want)
			}
			p.Free()
		}
	}
	var b Batch
	for _, c := range []struct{ payload, want int }{{64 * 28, 2 << 10}, {64 * 64, 16 << 10},
		{64 * 1000, largeRoom}} {
		Segments(super(false, protocolUDP, c.payload, c.payload/64), func(ip []byte) {
			if p := added(ip); b.Join(p.Record(), true) {
				p.Free()
			} else {
				b.Add(p)
			}
		})
		b.Seal()
		if p := b.Take(0); b.Len() != 1 || p.Room() != c.want {
			t.Errorf("a run of %d bytes takes %d; want %d", c.payload, p.Room(), c.want)
		}
		b.Reset()
	}
}

// Compact makes a buffer of the packet's size, which Free does not put into a pool.
func TestCompact(t *testing.T) {
	for _, n := range []int{HeaderLen, 60, 1400, SmallRoom, HeaderLen + MaxPacket} {
		p := NewPacket(n)
		for i := range p.Record() {
			p.Record()[i] = byte(i * 7)
		}
		want := bytes.Clone(p.Record())
		c := p.Compact()
		if !bytes.Equal(c.Record(), want) {
			t.Errorf("%d bytes: another record", n)
		}
		if want := max(n, 512); c.Room() != want {
			t.Errorf("%d bytes take %d, want %d", n, c.Room(), want)
		}
		c.Free()
		if q := NewPacket(n); q.Room() < max(n, SmallRoom) {
			t.Errorf("a pool gave a buffer of %d bytes for %d", q.Room(), n)
		}
	}
}
