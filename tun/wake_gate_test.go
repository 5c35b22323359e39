package tun

import (
	"net"
	"testing"
	"time"

	"tunnel/packet"
)

// While the reader pauses after joined datagrams, packets do not wake it: those that come then must
// not wait for later ones.
func TestNothingWaitsBehindARun(t *testing.T) {
	inNamespace(t)
	d := up(t, "tun0", Open)
	if !d.Offload().USO {
		t.Skip("this kernel does not take UDP super-packets, so that datagrams are not joined")
	}
	came, held := make(chan int, 1000), make(chan int, 1000)
	go func() {
		_ = d.ReadBatches(func(b *packet.Batch) {
			for i := range b.Len() {
				n := 0
				packet.Segments(b.Record(i), func(p []byte) {
					if p[0]>>4 == 4 {
						n++
					}
				})
				came <- n
				if n > holdAfter {
					held <- n
				}
			}
		})
	}()
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	patience := time.After(20 * time.Second)
	for round := range 120 {
		run := 5 + round%40
		for range run {
			_, _ = conn.Write(make([]byte, 64))
			if round%4 == 0 {
				// so that datagrams come at every point of the pause
				time.Sleep(time.Duration(round) * time.Microsecond)
			}
		}
		for got := 0; got < run; {
			select {
			case n := <-came:
				got += n
			case <-patience:
				t.Fatalf("round %d: %d of %d datagrams have come", round, got, run)
			}
		}
	}
	if len(held) == 0 {
		t.Error("the reader did not pause")
	}
}
