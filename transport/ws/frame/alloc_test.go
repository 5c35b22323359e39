//go:build !race

package frame

import (
	"testing"

	"tunnel/packet"
)

func TestFramesAllocate(t *testing.T) {
	for _, client := range []bool{true, false} {
		for _, way := range writing {
			o := Form{Client: client, Framing: way.framing, PeerUSO: true, Whole: way.secure}
			b := records(packet.UsualBatch, way.one)
			send := func() { frames(b, o) }
			send()
			if n := testing.AllocsPerRun(100, send); n != 0 {
				t.Errorf("client %v, %s: a batch allocates %v times; want 0", client, way.name, n)
			}
			b.Reset()
		}
	}
}
