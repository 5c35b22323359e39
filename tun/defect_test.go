package tun

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"testing"

	"tunnel/defect"
	"tunnel/packet"
)

// A panic over a packet ends ReadBatches, not the program; the next call goes on with the packets
// after it.
func TestReadsOnAfterPanic(t *testing.T) {
	inNamespace(t)
	d := up(t, "tun0", Open)
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := make(chan string, 100)
	ended := make(chan error)
	go func() {
		for {
			err := d.ReadBatches(func(b *packet.Batch) {
				for i := range b.Len() {
					packet.Segments(b.Record(i), func(ip []byte) {
						if _, text, ok := bytes.Cut(ip, []byte("datagram ")); ok {
							seen <- string(text)
							if string(text)[0] == '!' {
								panic(fmt.Sprintf("over %q", text))
							}
						}
					})
				}
			})
			ended <- err
			if err != nil && !defect.Is(err) {
				return
			}
		}
	}()
	for i := range 3 {
		fmt.Fprintf(conn, "datagram !%d", i)
		if got := <-seen; got != fmt.Sprintf("!%d", i) {
			t.Errorf("got %q; want !%d", got, i)
		}
		if err := <-ended; !defect.Is(err) {
			t.Fatalf("ReadBatches returns %v", err)
		}
		fmt.Fprintf(conn, "datagram %d", i)
		if got := <-seen; got != fmt.Sprint(i) {
			t.Errorf("got %q; want %d", got, i)
		}
	}
	_ = d.Close()
	if err := <-ended; err != os.ErrClosed { //nolint:errorlint // it is never wrapped
		t.Errorf("ReadBatches returns %v after Close", err)
	}
}
