package tcp

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/transport/fq"
)

// segments lies between TLS and TCP. crypto/tls reads and writes one record of 16 KiB at a time,
// with a system call each; here many go in one. A buffer is taken only while bytes are in it: most
// connections are idle.
type segments struct {
	net.Conn
	raw   syscall.RawConn
	heard func()   // called when bytes have come
	waits func()   // called before the reader waits for bytes, nil for nothing
	turn  *fq.Turn // in which the reader has something in hand

	// Of the one reader.
	read   func(fd uintptr) bool // readTCP; a closure made anew for each call would be garbage
	failed error
	in     *[]byte // what was read and TLS has not taken
	unread []byte
	few    [recordHeader]byte // what is unread while no buffer is taken
	record int                // bytes that TLS may still take of the record that it has begun
	// bytes that may still come before the other end has authenticated; 0 when it has
	early int

	// called once before the next write, of the goroutine that shakes hands; nil for none
	written func()

	mu   sync.Mutex // TLS also writes when its reader answers a KeyUpdate
	held bool       // guarded by mu, as all below
	out  *[]byte    // what TLS has written while held
}

func newSegments(tcp net.Conn, raw syscall.RawConn, heard func()) *segments {
	s := &segments{Conn: tcp, raw: raw, heard: heard, turn: &fq.Turn{}}
	s.read = s.readTCP
	return s
}

const (
	// segmentsRoom is the size in bytes of the buffers.
	segmentsRoom = fq.ReaderRoom
	// earlyRoom is that before the other end has authenticated.
	earlyRoom = 2 << 10
	// earlyMost is how many bytes that end may send until then: a ClientHello, certificates, and
	// the largest request that is taken. TLS by itself would keep a handshake message of 64 KiB for
	// it.
	earlyMost = 48 << 10
	// recordHeader is the bytes before a TLS record, the last two of them its length (RFC 8446
	// section 5.1).
	recordHeader = 5
)

//nolint:gochecknoglobals // pools are shared by design
var (
	segmentsIn    = sync.Pool{New: func() any { b := make([]byte, segmentsRoom); return &b }}
	segmentsEarly = sync.Pool{New: func() any { b := make([]byte, earlyRoom); return &b }}
	segmentsOut   = sync.Pool{New: func() any { b := make([]byte, 0, segmentsRoom); return &b }}
)

// Read never returns more than the rest of one TLS record, or its header: TLS would keep what is
// beyond, and nobody could tell whether it has enough for another record. See ready.
func (s *segments) Read(p []byte) (int, error) {
	least := 1
	if s.record == 0 {
		least = recordHeader
	}
	for len(s.unread) < least {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	if s.record == 0 {
		s.record = recordLength(s.unread)
	}
	n := copy(p[:min(len(p), s.record)], s.unread)
	s.record -= n
	s.unread = s.unread[n:]
	if len(s.unread) == 0 {
		s.free()
	}
	return n, nil
}

// ready tells whether TLS could read a whole record without waiting.
func (s *segments) ready() bool {
	n := s.record
	if n == 0 {
		if len(s.unread) < recordHeader {
			return false
		}
		n = recordLength(s.unread)
	}
	return len(s.unread) >= n
}

// recordLength returns the bytes of the record that p begins with, header and all.
func recordLength(p []byte) int {
	return recordHeader + int(binary.BigEndian.Uint16(p[recordHeader-2:]))
}

// fill waits for bytes and reads what the socket has, behind what is unread.
func (s *segments) fill() error {
	err := s.turn.Read(s.raw, s.read)
	switch {
	case err != nil:
		return err
	case s.failed != nil:
		return s.failed
	}
	s.heard()
	return nil
}

// readTCP is called until it returns true.
func (s *segments) readTCP(fd uintptr) bool {
	if !s.turn.Try() {
		return true
	}
	if s.in == nil {
		s.in = s.buffer()
	}
	have := copy(*s.in, s.unread)
	s.unread = (*s.in)[:have]
	var n int
	n, s.failed = nonblock.Read(fd, s.turn.Limit((*s.in)[have:]))
	if n > 0 {
		s.unread = (*s.in)[:have+n]
		if s.early > 0 {
			if s.early = max(s.early-n, 1); s.early == 1 {
				s.failed = errEarly
			}
		}
		return true
	}
	// Less than the header of a record was there, or fill would not have been called.
	few := copy(s.few[:], s.unread)
	s.free()
	s.unread = s.few[:few]
	switch {
	case s.failed == nil:
		s.failed = io.EOF
	case errors.Is(s.failed, unix.EAGAIN):
		s.turn.End()
		if s.waits != nil {
			s.waits()
		}
		return false
	}
	return true
}

// buffer returns a buffer to read into, a small one before the other end has authenticated: a
// client that sends a few bytes and no more must not hold a large one.
func (s *segments) buffer() *[]byte {
	pool := &segmentsIn
	if s.early > 0 {
		pool = &segmentsEarly
	}
	b, _ := pool.Get().(*[]byte)
	return b
}

// free gives the buffer back, out of which all was taken.
func (s *segments) free() {
	pool := &segmentsIn
	if len(*s.in) == earlyRoom {
		pool = &segmentsEarly
	}
	pool.Put(s.in)
	s.in, s.unread = nil, nil
}

var errEarly = errors.New("too many bytes before a login")

// gather keeps what is written from now on, for take.
func (s *segments) gather() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

// take returns what was held, nil for nothing. It goes back to segmentsOut.
func (s *segments) take() *[]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out
	s.out = nil
	return out
}

func (s *segments) Write(p []byte) (int, error) {
	if end := s.written; end != nil {
		s.written = nil
		end()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.held {
		return s.Conn.Write(p)
	}
	if s.out == nil {
		s.out, _ = segmentsOut.Get().(*[]byte)
		*s.out = (*s.out)[:0]
	}
	*s.out = append(*s.out, p...)
	return len(p), nil
}
