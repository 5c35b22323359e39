package tun

import (
	"sync"
	"testing"
	"time"

	"tunnel/packet"
)

// If the reader is delayed, for example descheduled, writers whose packets have answers wait for it
// before the device's queue is full.
func TestWritersWaitForReader(t *testing.T) {
	const (
		writers = 4
		pings   = 200 // of each
	)
	inNamespace(t)
	d := up(t, "tun0", Open)
	answers, held, resume := make(chan struct{}, writers*pings+1), make(chan struct{}),
		make(chan struct{})
	var once sync.Once
	go func() {
		_ = d.ReadBatches(func(b *packet.Batch) {
			once.Do(func() {
				close(held)
				<-resume
			})
			for i := range b.Len() {
				if ip := b.IP(i); ip[0]>>4 == 4 && ip[9] == 1 {
					answers <- struct{}{}
				}
			}
		})
	}()
	write := func(n uint16) {
		var b packet.Batch
		for i := range n {
			if _, err := b.Split(echoRequest(i), packet.FramingIP); err != nil {
				t.Error(err)
			}
		}
		if refused, err := d.WriteBatch(&b); err != nil || refused > 0 {
			t.Errorf("WriteBatch = %d refused, %v", refused, err)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { write(1) })
	<-held
	for range writers {
		all.Go(func() { write(pings) })
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		all.Wait()
	}()
	select {
	case <-over:
		t.Error("no writer waited for the reader")
	case <-time.After(time.Second): // they wait, or are slow: either passes
	}
	close(resume)
	<-over
	patience := time.After(20 * time.Second)
	for i := range writers*pings + 1 {
		select {
		case <-answers:
		case <-patience:
			t.Fatalf("%d of %d answers were lost", writers*pings+1-i, writers*pings+1)
		}
	}
}
