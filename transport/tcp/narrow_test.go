package tcp

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// Narrow makes the receive buffer small and reports what had arrived; Widen gives it back its size,
// and to the kernel the right to adapt it.
func TestNarrow(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	w, err := New(accepted, nil)
	if err != nil {
		t.Fatal(err)
	}
	state := func() (size, lock, waiting int) {
		if err := w.raw.Control(func(raw uintptr) {
			fd := int(raw)
			size = bufferSize(fd, unix.SO_RCVBUF)
			if lock, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK); err == nil {
				waiting, err = unix.IoctlGetInt(fd, unix.TIOCINQ)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return size, lock, waiting
	}
	const large, some = 1 << 20, 1000
	if err := w.raw.Control(func(fd uintptr) { // as after a fast stream
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, large/2)
		if err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(make([]byte, some)); err != nil {
		t.Fatal(err)
	}
	for waiting := 0; waiting < some; {
		_, _, waiting = state()
	}
	if rest := w.Narrow(); rest != some {
		t.Errorf("%d bytes are left to read; want %d", rest, some)
	}
	if size, _, _ := state(); size != narrowBuffer {
		t.Errorf("narrow: %d bytes; want %d", size, narrowBuffer)
	}
	w.Received(some)
	if rest := w.Narrow(); rest != 0 {
		t.Errorf("%d bytes are left after all were read", rest)
	}
	w.Widen()
	if size, lock, _ := state(); size != large || lock != 0 {
		t.Errorf("wide again: %d bytes, lock %d; want %d, 0", size, lock, large)
	}
}
