package tcp

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/transport/fq/turn"
)

// segments is the net.Conn between TLS and TCP. crypto/tls reads and writes one record of 16 KiB at
// a time, with a system call each; segments moves many records with one call. It holds a buffer
// only while that has bytes, because most connections are idle.
type segments struct {
	net.Conn
	raw   syscall.RawConn
	heard func(int)  // called with the number of bytes that were read from the socket
	waits func()     // called before the reader waits for bytes, nil for nothing
	turn  *turn.Turn // held while the reader has bytes in its buffers

	// Of the one reader.
	read   func(fd uintptr) bool // readTCP, made once: a closure for each call would be garbage
	failed error
	in     *[]byte            // the buffer of unread; nil while it is not needed
	unread []byte             // read from the socket and not yet by TLS
	few    [recordHeader]byte // holds unread while in is nil
	record int                // bytes of the current record that TLS has not read
	// bytes that the other end may still send before it has authenticated; 0 for no limit
	early int

	// called once before the next write, by the goroutine of the handshake; nil for none
	written func()

	mu   sync.Mutex // TLS also writes when its reader answers a KeyUpdate
	held bool       // writes are kept for take; guarded by mu, as is out
	out  *[]byte    // records that TLS has written while held
}

func newSegments(tcp net.Conn, raw syscall.RawConn, heard func(int)) *segments {
	s := &segments{Conn: tcp, raw: raw, heard: heard, turn: &turn.Turn{}}
	s.read = s.readTCP
	return s
}

const (
	// segmentsRoom is the size of the buffers, in bytes.
	segmentsRoom = turn.ReaderRoom
	// earlyRoom is the size of the buffer before the other end has authenticated.
	earlyRoom = 2 << 10
	// earlyMost is how many bytes the other end may send before it has authenticated: enough for a
	// ClientHello, certificates, and the largest request that is accepted. crypto/tls by itself
	// would buffer a handshake message of 64 KiB.
	earlyMost = 48 << 10
	// recordHeader is the length of the header of a TLS record, in bytes; the last two are the
	// length of what follows (RFC 8446 section 5.1).
	recordHeader = 5
)

//nolint:gochecknoglobals // pools are shared by design
var (
	segmentsIn    = sync.Pool{New: func() any { b := make([]byte, segmentsRoom); return &b }}
	segmentsEarly = sync.Pool{New: func() any { b := make([]byte, earlyRoom); return &b }}
	segmentsOut   = sync.Pool{New: func() any { b := make([]byte, 0, segmentsRoom); return &b }}
)

// Read returns at most the rest of one TLS record. crypto/tls would buffer bytes of the next
// record, and ready could not tell whether a complete record is left.
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

// ready reports whether TLS could read a complete record without waiting.
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

// recordLength returns the length of the record at the start of p, in bytes, with its header.
func recordLength(p []byte) int {
	return recordHeader + int(binary.BigEndian.Uint16(p[recordHeader-2:]))
}

// fill waits for bytes and appends what the socket has to unread.
func (s *segments) fill() error {
	before := len(s.unread)
	err := s.turn.Read(s.raw, s.read)
	switch {
	case err != nil:
		return err
	case s.failed != nil:
		return s.failed
	}
	s.heard(len(s.unread) - before)
	return nil
}

// readTCP reads from the socket once; syscall.RawConn calls it again when it returns false.
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
	// unread is shorter than a record's header, or fill would not have been called.
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

// buffer returns a buffer to read into. Before the other end has authenticated that is a small one:
// a client that sends only a few bytes must not occupy a large one.
func (s *segments) buffer() *[]byte {
	pool := &segmentsIn
	if s.early > 0 {
		pool = &segmentsEarly
	}
	b, _ := pool.Get().(*[]byte)
	return b
}

// shrink moves unread to a buffer of its size, for a reader that waits.
func (s *segments) shrink() {
	if s.in != nil {
		unread := slices.Clone(s.unread)
		s.free()
		s.unread = unread
	}
}

// free returns the buffer, whose bytes have all been read, to its pool.
func (s *segments) free() {
	if s.in == nil { // after shrink
		s.unread = nil
		return
	}
	pool := &segmentsIn
	if len(*s.in) == earlyRoom {
		pool = &segmentsEarly
	}
	pool.Put(s.in)
	s.in, s.unread = nil, nil
}

var errEarly = errors.New("too many bytes before a login")

// gather makes Write keep its bytes from now on, for take.
func (s *segments) gather() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
}

// take returns the bytes that Write has kept, nil for none. The buffer belongs in segmentsOut.
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
