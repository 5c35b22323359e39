//go:build !race

package ws

import (
	"testing"

	"tunnel/packet"
)

// The race detector's sync.Pool forgets at random, so this is not counted there.

func TestInputAllocates(t *testing.T) {
	b := batchOf(packet.UsualBatch, 1400)
	message := whole(b, true)
	b.Reset()
	in := &input{masked: true, idle: newControls()}
	var got packet.Batch
	receive := func() {
		in.arrive(message)
		for more := true; more; more = in.more {
			if err := in.batch(&got, packet.FramingVnet); err != nil {
				t.Fatal(err)
			}
			got.Reset()
		}
		in.release()
	}
	receive()
	if n := testing.AllocsPerRun(100, receive); n != 0 {
		t.Errorf("a message allocates %v times; want 0", n)
	}
}
