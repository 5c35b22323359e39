package meter

import (
	"fmt"
	"testing"

	"tunnel/packet"
)

// BenchmarkWritten counts batches of 64 packets of 1,400 bytes, of so many flows, while so many
// measurements run. Of 65,536 flows almost each packet takes the entry of another.
func BenchmarkWritten(b *testing.B) {
	for _, c := range []struct{ measurements, flows int }{{0, 8}, {1, 8}, {1, 1 << 16}, {Most, 8}} {
		b.Run(fmt.Sprintf("measurements=%d/flows=%d", c.measurements, c.flows), func(b *testing.B) {
			var m Meter
			for range c.measurements {
				m.add(new(table))
			}
			batches := make([]packet.Batch, max(c.flows/64, 1))
			for i := range batches {
				for j := range 64 {
					batches[i].Add(datagram(1400, uint32(i), uint16(j%c.flows)))
				}
			}
			for i := 0; b.Loop(); i++ {
				m.Written(&batches[i%len(batches)])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/packet")
		})
	}
}
