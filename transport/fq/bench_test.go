package fq

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq/meter"
)

// BenchmarkQueue pushes 1,024 packets and pops them in batches, from so many flows.
func BenchmarkQueue(b *testing.B) {
	for _, flows := range []int{1, 8, 200, 1024} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			q := NewQueue(64 << 20)
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for i := range 1024 {
					q.Push(datagram(uint16(i%flows), 1400, 0, 0))
				}
				for n := 0; n < 1024; {
					q.Pop(&batch, 256<<10)
					n += batch.Len()
					batch.Reset()
				}
			}
		})
	}
}

// BenchmarkMeasured is BenchmarkQueue with 8 flows while so many measurements run.
func BenchmarkMeasured(b *testing.B) {
	for _, measurements := range []int{0, 1, meter.Most} {
		b.Run(fmt.Sprintf("measurements=%d", measurements), func(b *testing.B) {
			q, m := NewQueue(64<<20), new(meter.Meter)
			q.meter = m
			ctx, cancel := context.WithCancel(b.Context())
			var group sync.WaitGroup
			for range measurements {
				group.Go(func() { _, _ = m.Measure(ctx, time.Hour) })
			}
			for len(m.Tap()) < measurements {
				time.Sleep(time.Millisecond)
			}
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for i := range 1024 {
					q.Push(datagram(uint16(i%8), 1400, 0, 0))
				}
				for n := 0; n < 1024; {
					q.Pop(&batch, 256<<10)
					n += batch.Len()
					batch.Reset()
				}
			}
			b.StopTimer()
			cancel()
			group.Wait()
		})
	}
}

// BenchmarkSubflows is BenchmarkQueue with 8 flows, over so many subflows.
func BenchmarkSubflows(b *testing.B) {
	for _, subflows := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("subflows=%d", subflows), func(b *testing.B) {
			l := NewSubflows(64 << 20)
			var queues []*Queue
			for range subflows {
				queues = append(queues, l.Join())
			}
			var batch packet.Batch
			b.ReportAllocs()
			for b.Loop() {
				for i := range 1024 {
					l.Push(datagram(uint16(i%8), 1400, 0, 0))
				}
				for _, q := range queues {
					for q.Len() > 0 {
						q.Pop(&batch, 256<<10)
						batch.Reset()
					}
				}
			}
		})
	}
}

// BenchmarkQueueFull pushes into a queue that is full: each packet drops one.
func BenchmarkQueueFull(b *testing.B) {
	for _, flows := range []int{1, 8, 200, 1024} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			q := NewQueue(2 << 20)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				q.Push(datagram(uint16(i%flows), 1400, 0, 0))
			}
			q.Close()
		})
	}
}
