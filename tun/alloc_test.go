//go:build !race

package tun

import (
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// In steady state neither a write nor the read of its answer allocates.
func TestPacketsAllocateNothing(t *testing.T) {
	inNamespace(t)
	for name, open := range map[string]func(string) (Device, error){"tun0": Open,
		"tun1": OpenPlain} {
		d := up(t, name, open)
		came := make(chan struct{}, 1)
		go func() {
			_ = d.ReadBatches(func(b *packet.Batch) {
				for i := range b.Len() {
					if ip := b.Record(i)[packet.HeaderLen:]; ip[0]>>4 == 4 &&
						ip[9] == unix.IPPROTO_ICMP {
						came <- struct{}{}
					}
				}
			})
		}()
		var b packet.Batch
		if _, err := b.Split(echoRequest(1), packet.FramingIP); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(300, func() {
			if refused, err := d.WriteBatch(&b); refused != 0 || err != nil {
				t.Errorf("WriteBatch: %d refused, %v", refused, err)
			}
			<-came
		}); n != 0 {
			t.Errorf("%s: %v allocations for a packet there and one back", d.Offload(), n)
		}
		_ = d.Close()
	}
}
