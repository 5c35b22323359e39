// Package accept accepts TCP connections at a rate at which most of them are refused: one that is
// refused costs two system calls and no memory. For Go's own listener it costs a dozen, among them
// the poller's, before its address can be looked at.
package accept

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pause is the time between two looks at the backlog while connections are refused. Waking up
	// for each of thousands a second would cost more than refusing it.
	pause = 2 * time.Millisecond
	// atOnce bounds the connections that are refused in one call of the poller, which Close waits
	// for.
	atOnce = 64
)

// New returns a listener on the same socket as ln, which it closes with itself. It resets each
// connection whose remote address refuses reports, as soon as it is accepted; refuses must not
// block. A listener that is not of TCP is returned as it is, and refuses is not called. If New
// fails, ln is closed.
func New(ln net.Listener, refuses func(netip.Addr) bool) (net.Listener, error) {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return ln, nil
	}
	file, err := tcp.File() // net has no poller for a listener's system calls, os has
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err == nil {
		err = resetOnClose(raw)
	}
	if err != nil {
		_, _ = file.Close(), ln.Close()
		return nil, err
	}
	return &listener{TCPListener: tcp, file: file, raw: raw, refuses: refuses}, nil
}

// listener accepts by file, which is a duplicate of the socket. The connections inherit its
// SO_LINGER, so that close(2) resets one that is refused.
type listener struct {
	*net.TCPListener

	file    *os.File
	raw     syscall.RawConn
	refuses func(netip.Addr) bool
	closed  atomic.Bool
	waiting atomic.Pointer[os.File] // accepted, while no further file can be opened
}

// Accept returns the next connection that is not refused, as net.TCPListener does, but without
// TCP's keepalives: sessions have their own. If it fails because no more files can be opened, the
// connection waits for the next call.
func (l *listener) Accept() (net.Conn, error) {
	for {
		var drained bool
		var err error
		file := l.waiting.Swap(nil)
		if file == nil {
			file, drained, err = l.next()
		}
		var c net.Conn
		if file != nil {
			c, err = conn(file)
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
				l.waiting.Store(file)
				if l.closed.Load() {
					l.discard()
				}
			} else {
				_ = file.Close()
			}
		}
		switch {
		case err != nil:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
		case c != nil:
			return c, nil
		case drained:
			time.Sleep(pause)
		}
	}
}

// next waits for a connection that is not refused. It returns nil if it has refused some instead;
// drained reports whether there are no more.
func (l *listener) next() (file *os.File, drained bool, err error) {
	refused := 0
	waited := l.raw.Read(func(socket uintptr) bool {
		for refused < atOnce {
			next, from, failed := unix.Accept4(int(socket), unix.SOCK_CLOEXEC)
			switch {
			case failed == nil && l.refuses(address(from)):
				_ = unix.Close(next)
				refused++
			case failed == nil:
				file = os.NewFile(uintptr(next), "")
				return true
			case errors.Is(failed, unix.EAGAIN):
				drained = refused > 0
				return drained
			case !errors.Is(failed, unix.EINTR) && !errors.Is(failed, unix.ECONNABORTED):
				err = os.NewSyscallError("accept4", failed)
				return true
			}
		}
		return true
	})
	switch {
	case waited == nil:
		return file, drained, err
	case l.closed.Load():
		waited = net.ErrClosed // os has an error of its own
	}
	return nil, false, waited
}

// conn makes a connection of an accepted socket, with a duplicate. It returns nil if the other end
// has reset it.
func conn(file *os.File) (net.Conn, error) {
	c, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok || c.RemoteAddr() == nil || tcp.SetLinger(-1) != nil {
		_ = c.Close()
		return nil, nil //nolint:nilerr // it is reset
	}
	_ = tcp.SetKeepAlive(false)
	return c, nil
}

// address returns the address in from, the zero Addr if there is none.
func address(from unix.Sockaddr) netip.Addr {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(a.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(a.Addr).Unmap()
	}
	return netip.Addr{}
}

// resetOnClose makes close(2) reset a socket's connections.
func resetOnClose(raw syscall.RawConn) (err error) {
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	return errors.Join(failed, err)
}

// Close closes the listener and ln.
func (l *listener) Close() error {
	l.closed.Store(true)
	l.discard()
	return errors.Join(l.file.Close(), l.TCPListener.Close())
}

// discard resets the connection that waits.
func (l *listener) discard() {
	if file := l.waiting.Swap(nil); file != nil {
		_ = file.Close()
	}
}
