package transport

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net"
	"sync"

	"tunnel/packet"
)

// A batch goes out as one binary WebSocket frame (RFC 6455 section 5.2), built here and not in the library: that masks
// and writes 4 KiB at a time and passes each write by another goroutine. The header's length is only known when all
// records are in, so it is written right-aligned into the room before them.
const (
	frameRoom   = 14 // the longest header: 2 bytes, 8 of length, 4 of mask
	finalBinary = 0x82
	masked      = 0x80
)

// frame is the buffer in which a batch becomes a frame.
type frame struct {
	buf   []byte      // frameRoom, then the payload
	parts net.Buffers // of refer
	left  net.Buffers // what of parts is not written yet
	key   [4]byte
	pad   []byte // the key over and over, as long as maskStep; nil on the server's side, which does not mask
}

// maskStep is how many bytes are masked at once: a multiple of the key's length, well within the first-level cache.
const maskStep = 4 << 10

//nolint:gochecknoglobals // a pool is shared by design
var framePool = sync.Pool{New: func() any {
	return &frame{buf: make([]byte, frameRoom, frameRoom+packet.MaxBatch), pad: make([]byte, maskStep)}
}}

// begin starts a frame; a client masks it with a fresh key (section 5.3).
func (f *frame) begin(client bool) {
	f.buf = f.buf[:frameRoom]
	f.key = [4]byte{}
	if client {
		_, _ = rand.Read(f.key[:]) // never fails (crypto/rand)
		for n := copy(f.pad, f.key[:]); n < len(f.pad); {
			n += copy(f.pad[n:], f.pad[:n])
		}
	}
}

// size returns the bytes of the payload.
func (f *frame) size() int { return len(f.buf) - frameRoom }

// add appends p to the payload, masked if the frame is.
func (f *frame) add(p []byte, client bool) {
	if !client {
		f.buf = append(f.buf, p...)
		return
	}
	at := len(f.buf)
	f.buf = f.buf[:at+len(p)]
	f.mask(f.buf[at:], p, at-frameRoom)
}

// mask sets dst, as long as p, to p masked; at is where in the payload it stands.
func (f *frame) mask(dst, p []byte, at int) {
	for len(p) > 0 {
		n := min(len(p), maskStep-3) // so that the pad reaches, whatever the phase
		subtle.XORBytes(dst, p[:n], f.pad[at&3:])
		dst, p, at = dst[n:], p[n:], at+n
	}
}

// refer returns the frame whose payload is the records of b, masked where they lie if the frame is. It must be written
// before b is reset or f used again.
func (f *frame) refer(b *packet.Batch, client bool) *net.Buffers {
	clear(f.parts[:cap(f.parts)])
	f.parts = append(f.parts[:0], nil)
	n := 0
	for i := range b.Len() {
		record := b.Record(i)
		if client {
			f.mask(record, record, n)
		}
		n += len(record)
		f.parts = append(f.parts, record)
	}
	f.parts[0] = f.header(n, client)
	f.left = f.parts
	return &f.left
}

// finish returns the whole frame.
func (f *frame) finish(client bool) []byte {
	n := f.size()
	start := frameRoom - len(f.header(n, client))
	return f.buf[start:]
}

// header writes the header of a frame with n bytes of payload to the end of the room for it, and returns it.
func (f *frame) header(n int, client bool) []byte {
	start := frameRoom
	var mask byte
	if client {
		mask = masked
		start -= 4
		copy(f.buf[start:], f.key[:])
	}
	switch {
	case n < 126:
		start -= 2
		f.buf[start+1] = mask | byte(n)
	case n < 1<<16:
		start -= 4
		f.buf[start+1] = mask | 126
		binary.BigEndian.PutUint16(f.buf[start+2:], uint16(n))
	default:
		start -= 10
		f.buf[start+1] = mask | 127
		binary.BigEndian.PutUint64(f.buf[start+2:], uint64(n))
	}
	f.buf[start] = finalBinary
	return f.buf[start:frameRoom]
}
