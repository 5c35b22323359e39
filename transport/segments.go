package transport

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// segments lies between TLS and TCP. crypto/tls reads and writes one record of 16 KiB at a time, with a system call
// each; here many go in one. A buffer is taken only while bytes are in it: most connections are idle.
type segments struct {
	net.Conn
	raw syscall.RawConn

	in     *[]byte // what was read and TLS has not taken
	unread []byte

	mu   sync.Mutex // TLS also writes when its reader answers a KeyUpdate
	held bool       // guarded by mu, as all below
	out  *[]byte    // what TLS has written while held
	size int
}

// segmentsRoom is the size in bytes of the buffers.
const segmentsRoom = 256 << 10

//nolint:gochecknoglobals // a pool is shared by design
var segmentsPool = sync.Pool{New: func() any { b := make([]byte, segmentsRoom); return &b }}

func (s *segments) Read(p []byte) (int, error) {
	if len(s.unread) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.unread)
	s.unread = s.unread[n:]
	if len(s.unread) == 0 {
		segmentsPool.Put(s.in)
		s.in = nil
	}
	return n, nil
}

// fill reads what the socket has.
func (s *segments) fill() error {
	var n int
	var failed error
	if over, ok := s.Conn.(*overTLS); ok { // whose socket has what only it can read
		return s.fillFrom(over)
	}
	err := s.raw.Read(func(fd uintptr) bool {
		s.in, _ = segmentsPool.Get().(*[]byte)
		for {
			n, failed = unix.Read(int(fd), *s.in)
			if !errors.Is(failed, unix.EINTR) {
				break
			}
		}
		if n > 0 {
			return true
		}
		segmentsPool.Put(s.in)
		s.in = nil
		return !errors.Is(failed, unix.EAGAIN)
	})
	switch {
	case err != nil:
		return err
	case failed != nil:
		return failed
	case n == 0:
		return io.EOF
	}
	s.unread = (*s.in)[:n]
	return nil
}

// fillFrom reads what a connection has that is not a socket.
func (s *segments) fillFrom(r io.Reader) error {
	s.in, _ = segmentsPool.Get().(*[]byte)
	n, err := r.Read(*s.in)
	if n == 0 {
		segmentsPool.Put(s.in)
		s.in = nil
		return err
	}
	s.unread = (*s.in)[:n] // and an error comes again
	return nil
}

// hold keeps what is written until release. The caller sees to it that nobody else holds in between.
func (s *segments) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

// release writes what was held.
func (s *segments) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	if s.size == 0 {
		return nil
	}
	_, err := s.Conn.Write((*s.out)[:s.size])
	s.size = 0
	segmentsPool.Put(s.out)
	s.out = nil
	return err
}

func (s *segments) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		return s.Conn.Write(p)
	}
	if s.out == nil {
		s.out, _ = segmentsPool.Get().(*[]byte)
	}
	if s.size+len(p) > len(*s.out) {
		if _, err := s.Conn.Write((*s.out)[:s.size]); err != nil {
			return 0, err
		}
		s.size = 0
	}
	if len(p) > len(*s.out) {
		return s.Conn.Write(p)
	}
	s.size += copy((*s.out)[s.size:], p)
	return len(p), nil
}
