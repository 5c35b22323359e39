//go:build !race

package transport

import (
	"testing"

	"tunnel/packet"
)

// The race detector's sync.Pool forgets at random, so this is not counted there.

func TestQueueAllocates(t *testing.T) {
	for _, flows := range []int{1, 8, 500} {
		q := NewQueue(1 << 20)
		var b packet.Batch
		cycle := func() {
			for i := range 1000 { // more than it holds: some are dropped
				q.Push(datagram(uint16(i%flows), 1400, 0, 0))
			}
			q.Pop(&b, 4<<20)
			b.Reset()
		}
		cycle()
		if n := testing.AllocsPerRun(100, cycle); n != 0 {
			t.Errorf("push and pop with %d flows allocate %v times; want 0", flows, n)
		}
	}
}

func TestWriteBatchAllocates(t *testing.T) {
	for _, client := range []bool{true, false} {
		for _, way := range writing {
			c := toSink(client, way.secure, way.framing)
			b := records(256<<10, way.one)
			write := func() {
				if err := c.WriteBatch(b); err != nil {
					t.Fatal(err)
				}
			}
			write()
			if n := testing.AllocsPerRun(100, write); n != 0 {
				t.Errorf("client %v, %s: a batch allocates %v times; want 0", client, way.name, n)
			}
			b.Reset()
		}
	}
}
