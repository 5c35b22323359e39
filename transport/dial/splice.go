package dial

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// splice provides a socket for a connection inside the TLS with a proxy, which has none of its own.
// Two goroutines copy bytes between that and one end of a pair of Unix sockets; splice is the other
// end.
type splice struct {
	*net.UnixConn
	inner *tls.Conn
	group sync.WaitGroup
}

// newSplice returns a splice that owns inner. It closes inner on an error.
func newSplice(inner *tls.Conn) (_ *splice, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC,
		0)
	if err != nil {
		_ = inner.NetConn().Close()
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "splice")
		end, failed := net.FileConn(f)
		_ = f.Close()
		ends[i], err = end, failed
		if failed != nil {
			break
		}
	}
	own, ok := ends[0].(*net.UnixConn)
	if err != nil || !ok {
		for _, end := range ends {
			if end != nil {
				_ = end.Close()
			}
		}
		_ = inner.NetConn().Close()
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	s := &splice{UnixConn: own, inner: inner}
	carry := func(dst io.Writer, src io.Reader) {
		_, _ = io.Copy(dst, src)
		_ = ends[1].Close() // the first direction to end ends the other
		_ = inner.NetConn().Close()
	}
	s.group.Go(func() { carry(inner, ends[1]) })
	s.group.Go(func() { carry(ends[1], inner) })
	return s, nil
}

// LocalAddr returns the local address of the connection to the proxy.
func (s *splice) LocalAddr() net.Addr { return s.inner.LocalAddr() }

// RemoteAddr returns the address of the proxy.
func (s *splice) RemoteAddr() net.Addr { return s.inner.RemoteAddr() }

// Close closes the socket and inner, and waits for the goroutines.
func (s *splice) Close() error {
	err := s.UnixConn.Close()
	_ = s.inner.NetConn().Close() // as tcp.Conn.Close, without close_notify
	s.group.Wait()
	return err
}
