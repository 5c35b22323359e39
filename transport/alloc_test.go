//go:build !race

package transport

import (
	"testing"

	"tunnel/packet"
)

// The race detector's sync.Pool forgets at random, so this is not counted there.
func TestQueueAllocates(t *testing.T) {
	q := NewQueue(1 << 20)
	var b packet.Batch
	cycle := func() {
		for port := range uint16(8) {
			q.Push(datagram(port, 1400, 0, 0))
		}
		q.Pop(&b, 1<<20)
		b.Reset()
	}
	cycle()
	if n := testing.AllocsPerRun(100, cycle); n != 0 {
		t.Errorf("push and pop allocate %v times; want 0", n)
	}
}
