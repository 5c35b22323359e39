package tcp

import (
	"io"
	"net"
	"testing"
	"time"
)

// What was sent and received is counted, to the byte, and can be asked for after the end.
func TestInfo(t *testing.T) {
	const up, down = 300_000, 50_000
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	ours, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	w, err := New(ours, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 4)
	for _, f := range []func() (int, error){
		func() (int, error) { return w.Write(make([]byte, up)) },
		func() (int, error) { return theirs.Write(make([]byte, down)) },
		func() (int, error) { return io.ReadFull(theirs, make([]byte, up)) },
		func() (int, error) { return io.ReadFull(w, make([]byte, down)) },
	} {
		go func() { _, err := f(); done <- err }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for until := time.Now().Add(20 * time.Second); w.Info().Acked < up && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
	for _, when := range []string{"while it is open", "when it is closed"} {
		i := w.Info()
		// the kernel counts the SYN of some
		if i.Acked < up || i.Acked > up+1 || i.Received != down || i.RTT <= 0 || i.Segments == 0 ||
			i.Congestion == "" {
			t.Errorf("%s: %+v", when, i)
		}
		if err := w.Close(); err != nil && when == "while it is open" {
			t.Fatal(err)
		}
	}
}
