// Package frame builds WebSocket frames (RFC 6455 section 5) from batches, and parses frame
// headers.
package frame

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net"
	"slices"
	"sync"

	"tunnel/packet"
)

// A batch is sent as one binary frame (RFC 6455 section 5.2), built here and not by the WebSocket
// library, which masks and writes 4 KiB at a time and passes each write to another goroutine. The
// length of the header is only known when the payload is complete, so that the header is written
// right-aligned into the room before the payload.
const (
	frameRoom = 14 // the longest header: 2 bytes, 8 of length, 4 of mask
	MaskBit   = 0x80
)

// Buffer holds the frame of a batch, or several frames if segmentation makes the batch longer than
// packet.MaxBatch.
type Buffer struct {
	buf     []byte // room, payload, room, payload …
	payload int    // where the last payload begins
	spans   []span // of the frames that are finished
	parts   net.Buffers
	key     [4]byte
	pad     []byte // key, repeated up to maskStep bytes
}

// A Form describes the frames that the peer expects.
type Form struct {
	Client  bool           // this side is the client, and masks
	Framing packet.Framing // of the records
	PeerUSO bool           // the peer accepts UDP super-packets
	Whole   bool           // a frame must be in one buffer, for TLS
}

type span struct{ from, to int }

// maskStep is how many bytes are masked at once: a multiple of the key's length, well within the
// first-level cache.
const maskStep = 4 << 10

// frameSize is the usual size of the buffer, in bytes: segmentation may need more.
const frameSize = frameRoom + packet.UsualBatch + packet.HeaderLen + packet.MaxPacket

//nolint:gochecknoglobals // a pool is shared by design
var framePool = sync.Pool{New: func() any {
	return &Buffer{buf: make([]byte, 0, frameSize),
		pad: make([]byte, maskStep)}
}}

// New returns a Buffer from the pool, for Free.
func New() *Buffer {
	f, _ := framePool.Get().(*Buffer)
	return f
}

// Free returns f to the pool.
func (f *Buffer) Free() {
	clear(f.parts[:cap(f.parts)])
	if cap(f.buf) <= 2*frameSize { // a batch that was segmented is longer
		framePool.Put(f)
	}
}

// Build returns the frames of b, whose records come from packet.Batch.Add. Super-packets that the
// peer does not accept are segmented. The frames are valid until f or b is used again. They may lie
// partly in b, whose records are then masked.
func (f *Buffer) Build(b *packet.Batch, o Form) net.Buffers {
	f.buf, f.spans, f.parts = f.buf[:0], f.spans[:0], f.parts[:0]
	f.begin(o.Client)
	if o.asTheyAre(b) {
		return f.refer(b, o.Client)
	}
	var none [packet.HeaderLen]byte // no segmentation, no partial checksum
	header := none[:o.Framing.HeaderLen()]
	for i := range b.Len() {
		record := b.Record(i)
		if o.takes(record) {
			f.add(nil, record, o.Client)
			continue
		}
		packet.Segments(record, func(ip []byte) { f.add(header, ip, o.Client) })
	}
	f.finish(o.Client)
	for _, s := range f.spans {
		f.parts = append(f.parts, f.buf[s.from:s.to])
	}
	return f.parts
}

// Copied reports whether the frames that Build has returned lie in f alone.
func (f *Buffer) Copied() bool { return len(f.spans) > 0 }

// Room returns the size of f in memory, in bytes.
func (f *Buffer) Room() int { return cap(f.buf) }

// takes reports whether the peer accepts a record without segmentation.
func (o Form) takes(record []byte) bool {
	return o.Framing == packet.FramingVnet && (o.PeerUSO || !packet.ParseHeader(record).UDP())
}

// asTheyAre reports whether the records of b are sent from their own buffers instead of a copy: the
// frame need not be in one buffer, the peer accepts all records, and they are large.
func (o Form) asTheyAre(b *packet.Batch) bool {
	const large = 4 << 10
	if o.Whole || b.Size() < b.Len()*large {
		return false
	}
	for i := range b.Len() {
		if !o.takes(b.Record(i)) {
			return false
		}
	}
	return true
}

// begin starts a frame; a client masks it with a fresh key (section 5.3).
func (f *Buffer) begin(client bool) {
	f.buf = append(f.buf, make([]byte, frameRoom)...)
	f.payload = len(f.buf)
	if client {
		_, _ = rand.Read(f.key[:]) // never fails (crypto/rand)
		for n := copy(f.pad, f.key[:]); n < len(f.pad); {
			n += copy(f.pad[n:], f.pad[:n])
		}
	}
}

// add appends a record in two parts to the payload, masked if the frame is. If it does not fit,
// another frame begins.
func (f *Buffer) add(header, rest []byte, client bool) {
	if len(f.buf)-f.payload+len(header)+len(rest) > packet.MaxBatch {
		f.finish(client)
		f.begin(client)
	}
	for _, p := range [2][]byte{header, rest} {
		if !client {
			f.buf = append(f.buf, p...)
			continue
		}
		at := len(f.buf)
		f.buf = slices.Grow(f.buf, len(p))[:at+len(p)]
		f.mask(f.buf[at:], p, at-f.payload)
	}
}

// mask sets dst, as long as p, to the masked bytes of p, which begin at offset at of the payload.
func (f *Buffer) mask(dst, p []byte, at int) {
	for len(p) > 0 {
		n := min(len(p), maskStep-3) // the pad from any phase has as many bytes
		subtle.XORBytes(dst, p[:n], f.pad[at&3:])
		dst, p, at = dst[n:], p[n:], at+n
	}
}

// refer returns a frame whose payload is the buffers of the records of b.
func (f *Buffer) refer(b *packet.Batch, client bool) net.Buffers {
	f.parts = append(f.parts, nil)
	n := 0
	for i := range b.Len() {
		record := b.Record(i)
		if client {
			f.mask(record, record, n)
		}
		n += len(record)
		f.parts = append(f.parts, record)
	}
	f.parts[0] = f.buf[f.header(n, client):f.payload]
	return f.parts
}

// finish completes the present frame.
func (f *Buffer) finish(client bool) {
	f.spans = append(f.spans, span{f.header(len(f.buf)-f.payload, client), len(f.buf)})
}

// header writes the header for a payload of n bytes before it, and returns the offset of the
// header.
func (f *Buffer) header(n int, client bool) int {
	var room [frameRoom]byte
	header := appendHeader(room[:0], OpBinary, n, client, f.key)
	start := f.payload - len(header)
	copy(f.buf[start:], header)
	return start
}

// Append appends a frame with a small body to frames.
func Append(frames []byte, opcode byte, body []byte, client bool) []byte {
	var key [4]byte
	if client {
		_, _ = rand.Read(key[:]) // never fails (crypto/rand)
	}
	frames = append(appendHeader(frames, opcode, len(body), client, key), body...)
	Mask(frames[len(frames)-len(body):], key, 0)
	return frames
}

// appendHeader appends the header of an unfragmented message of n bytes.
func appendHeader(p []byte, opcode byte, n int, client bool, key [4]byte) []byte {
	var mask byte
	if client {
		mask = MaskBit
	}
	switch p = append(p, Final|opcode); {
	case n < 126:
		p = append(p, mask|byte(n))
	case n < 1<<16:
		p = binary.BigEndian.AppendUint16(append(p, mask|126), uint16(n))
	default:
		p = binary.BigEndian.AppendUint64(append(p, mask|127), uint64(n))
	}
	if client {
		p = append(p, key[:]...)
	}
	return p
}
