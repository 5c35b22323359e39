package frame

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455 section 5.2.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xa
	OpControl      = 0x8 // the bit that marks opcodes of control frames
	Final          = 0x80
	reserved       = 0x70 // bits of extensions, of which none is negotiated
	MaxControlBody = 125  // bytes of payload of a control frame (section 5.5)
)

// Violation is an error of the peer against the protocol; its text is sent as the close reason.
type Violation string

func (e Violation) Error() string { return string(e) }

// Header is the beginning of a frame.
type Header struct {
	Length  int // of the header, in bytes; 0 if it is incomplete
	Opcode  byte
	Fin     bool
	Payload uint64
	Key     [4]byte
}

// Parse reads a header (RFC 6455 section 5.2). The error is a Violation.
func Parse(p []byte, masked bool) (h Header, err error) {
	if len(p) < 2 {
		return h, nil
	}
	h.Opcode, h.Fin = p[0]&0xf, p[0]&Final != 0
	switch h.Opcode {
	case OpContinuation, OpText, OpBinary, OpClose, OpPing, OpPong:
	default:
		return h, Violation(fmt.Sprintf("unknown opcode %#x", h.Opcode))
	}
	h.Payload = uint64(p[1] & 0x7f)
	switch {
	case p[0]&reserved != 0:
		return h, Violation("no extension was negotiated")
	case (p[1]&MaskBit != 0) != masked:
		return h, Violation("a client masks its frames, a server does not")
	case h.Opcode&OpControl != 0 && (!h.Fin || h.Payload > MaxControlBody):
		return h, Violation("a control frame is too long or fragmented")
	}
	n := 2
	switch h.Payload {
	case 126:
		if n = 4; len(p) >= n {
			h.Payload = uint64(binary.BigEndian.Uint16(p[2:]))
		}
	case 127:
		if n = 10; len(p) >= n {
			h.Payload = binary.BigEndian.Uint64(p[2:])
		}
	}
	if masked {
		n += 4
	}
	if len(p) < n {
		return h, nil
	}
	if h.Payload > 1<<62 {
		return h, Violation("a frame longer than can be")
	}
	if masked {
		copy(h.Key[:], p[n-4:])
	}
	h.Length = n
	return h, nil
}

// Mask masks or unmasks p; phase is the position in the key of the first byte. It returns the
// position after the last byte.
func Mask(p []byte, key [4]byte, phase int) int {
	var pad [8]byte
	for i := range pad {
		pad[i] = key[(phase+i)&3]
	}
	end := (phase + len(p)) & 3
	word := binary.NativeEndian.Uint64(pad[:])
	for len(p) >= 64 { // unrolled, for speed
		q := p[:64]
		binary.NativeEndian.PutUint64(q, binary.NativeEndian.Uint64(q)^word)
		binary.NativeEndian.PutUint64(q[8:], binary.NativeEndian.Uint64(q[8:])^word)
		binary.NativeEndian.PutUint64(q[16:], binary.NativeEndian.Uint64(q[16:])^word)
		binary.NativeEndian.PutUint64(q[24:], binary.NativeEndian.Uint64(q[24:])^word)
		binary.NativeEndian.PutUint64(q[32:], binary.NativeEndian.Uint64(q[32:])^word)
		binary.NativeEndian.PutUint64(q[40:], binary.NativeEndian.Uint64(q[40:])^word)
		binary.NativeEndian.PutUint64(q[48:], binary.NativeEndian.Uint64(q[48:])^word)
		binary.NativeEndian.PutUint64(q[56:], binary.NativeEndian.Uint64(q[56:])^word)
		p = p[64:]
	}
	for i := range p {
		p[i] ^= pad[i&7]
	}
	return end
}
