package accept

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds each wait for what is about to happen, on however busy a machine.
const patience = 30 * time.Second

func listen(t *testing.T, refuses func(netip.Addr) bool) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(ln, refuses)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, from string, l net.Listener) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	return d.DialContext(t.Context(), "tcp", l.Addr().String())
}

// A refused connection is reset, without Accept returning, and those between are accepted with
// their addresses, however many are refused.
func TestRefused(t *testing.T) {
	var asked atomic.Int64
	l := listen(t, func(from netip.Addr) bool {
		asked.Add(1)
		return from == netip.MustParseAddr("127.0.0.2")
	})
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		for range atOnce + 10 {
			c, err := dial(t, "127.0.0.2", l)
			if err == nil {
				_ = c.SetReadDeadline(time.Now().Add(patience))
				_, err = c.Read(make([]byte, 1))
				_ = c.Close()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("refused, but not reset: %v", err)
			}
		}
		near, err := dial(t, "127.0.0.3", l)
		if err != nil {
			t.Fatal(err)
		}
		far := <-accepted
		if far.RemoteAddr().String() != near.LocalAddr().String() ||
			far.LocalAddr().String() != near.RemoteAddr().String() {
			t.Errorf("%v to %v; want %v to %v", far.RemoteAddr(), far.LocalAddr(),
				near.LocalAddr(), near.RemoteAddr())
		}
		_ = near.Close()
		_ = far.Close()
	}
	if n := asked.Load(); n != 3*(atOnce+10+1) {
		t.Errorf("asked %d times", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if c := <-accepted; c != nil {
		t.Error("a connection after Close")
	}
}

// An accepted connection does not inherit what resets refused ones: what is written before Close
// arrives. It has no keepalives.
func TestAcceptedClosesInOrder(t *testing.T) {
	l := listen(t, func(netip.Addr) bool { return false })
	near, err := dial(t, "127.0.0.1", l)
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := far.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var options []int
	if err := raw.Control(func(fd uintptr) {
		for _, o := range [][2]int{{unix.SOL_SOCKET, unix.SO_KEEPALIVE},
			{unix.IPPROTO_TCP, unix.TCP_NODELAY}} {
			n, _ := unix.GetsockoptInt(int(fd), o[0], o[1])
			options = append(options, n)
		}
	}); err != nil || !slices.Equal(options, []int{0, 1}) {
		t.Errorf("SO_KEEPALIVE and TCP_NODELAY are %v; %v", options, err)
	}
	text := make([]byte, 1<<20)
	go func() {
		_, _ = far.Write(text)
		_ = far.Close()
	}()
	_ = near.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.Copy(io.Discard, near); n != int64(len(text)) || err != nil {
		t.Errorf("%d of %d bytes have arrived, %v", n, len(text), err)
	}
}

// Close ends Accept with the error by which callers know it, and frees the port.
func TestClose(t *testing.T) {
	l := listen(t, func(netip.Addr) bool { return true })
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	c, err := dial(t, "127.0.0.1", l) // Accept waits once this has been refused
	if err == nil {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	again, err := new(net.ListenConfig).Listen(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

// A connection that was accepted with the last file that can be opened is not reset: it waits for
// the next call.
func TestWaitsForFiles(t *testing.T) {
	l := listen(t, func(netip.Addr) bool { return false })
	c, err := dial(t, "127.0.0.1", l)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	free := takeFiles(t)
	free()
	if _, err := l.Accept(); !errors.Is(err, unix.EMFILE) {
		t.Fatalf("without files: %v", err)
	}
	free()
	defer time.AfterFunc(patience, func() { _ = l.Close() }).Stop()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	if _, err := accepted.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// takeFiles takes all files that can be opened, and returns a function that gives one back.
func takeFiles(t *testing.T) (free func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	few := old
	few.Cur = 64
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var taken []int
	free = func() {
		if last := len(taken) - 1; last >= 0 {
			_ = unix.Close(taken[last])
			taken = taken[:last]
		}
	}
	t.Cleanup(func() {
		for len(taken) > 0 {
			free()
		}
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	})
	for {
		fd, err := unix.Dup(0)
		if err != nil {
			return free
		}
		taken = append(taken, fd)
	}
}

// New closes the listener if it fails.
func TestNewFails(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	takeFiles(t)
	if _, err := New(ln, nil); !errors.Is(err, unix.EMFILE) {
		t.Fatal(err)
	}
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it is not closed: %v", err)
	}
}

// Close resets a connection that waits for a file.
func TestCloseWhileOneWaits(t *testing.T) {
	ln := listen(t, func(netip.Addr) bool { return false })
	c, err := dial(t, "127.0.0.1", ln)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	l, ok := ln.(*listener)
	if !ok {
		t.Fatalf("%T", ln)
	}
	file, _, err := l.next()
	if err != nil {
		t.Fatal(err)
	}
	l.waiting.Store(file)
	_ = l.Close()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("it is not reset: %v", err)
	}
}
