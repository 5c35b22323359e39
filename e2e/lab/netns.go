package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs fn on a thread inside the host's namespace. Sockets that fn opens stay in the namespace;
// goroutines that it starts do not run inside.
func (h *Host) Do(fn func() error) error {
	ns, err := os.Open(filepath.Join(netnsDir, h.ns))
	if err != nil {
		return fmt.Errorf("enter %s: %w", h.name, err)
	}
	defer ns.Close()
	result := make(chan error, 1)
	go onThread(func() {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter %s: %w", h.name, err)
			return
		}
		result <- fn()
	})
	return <-result
}

// onThread runs fn on a thread that ends with the goroutine, since a thread that stays locked is
// not used again. The process's first thread cannot end, and its namespace counts as the process's,
// so it is kept busy while another thread runs fn.
func onThread(fn func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThread(fn)
	}()
	<-done
}

// DialContext opens a connection from the host to a literal IP address and port, without a process
// inside. http.Transport can use it.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Cookie returns the kernel's number of the host's namespace, which is unique until the machine
// restarts.
func (h *Host) Cookie() uint64 {
	h.lab.t.Helper()
	var cookie uint64
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if err != nil {
		h.lab.t.Fatalf("lab: cookie of %s: %v", h.name, err)
	}
	return cookie
}
