//go:build !race

package fq

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

func TestSubflowsAllocate(t *testing.T) {
	for _, subflows := range []int{1, 3} {
		l, queues, _ := fakeSubflows(subflows)
		var b packet.Batch
		cycle := func() {
			for i := range 1000 {
				l.Push(datagram(uint16(i%8), 1400, 0, 0))
			}
			l.Flush()
			for _, q := range queues {
				for q.Len() > 0 {
					q.Pop(&b, 4<<20)
					b.Reset()
				}
			}
		}
		cycle()
		if n := testing.AllocsPerRun(100, cycle); n != 0 {
			t.Errorf("%d subflows allocate %v times; want 0", subflows, n)
		}
	}
}
