package transport

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa
	opControl      = 0x8 // the bit that control frames have
	final          = 0x80
	reserved       = 0x70 // bits of extensions, of which none is negotiated
	maxControlBody = 125  // bytes of payload of a control frame (section 5.5)
)

// errViolation is how the peer broke the protocol; its text goes to the peer as the reason.
type errViolation string

func (e errViolation) Error() string { return string(e) }

// frameHeader is the beginning of a frame.
type frameHeader struct {
	length  int // bytes of the header itself; 0 when it is not complete
	opcode  byte
	fin     bool
	payload uint64
	key     [4]byte
}

// parseFrame reads a header (RFC 6455 section 5.2). The error is an errViolation.
func parseFrame(p []byte, masked bool) (h frameHeader, err error) {
	if len(p) < 2 {
		return h, nil
	}
	h.opcode, h.fin = p[0]&0xf, p[0]&final != 0
	switch h.opcode {
	case opContinuation, opText, opBinary, opClose, opPing, opPong:
	default:
		return h, errViolation(fmt.Sprintf("unknown opcode %#x", h.opcode))
	}
	h.payload = uint64(p[1] & 0x7f)
	switch {
	case p[0]&reserved != 0:
		return h, errViolation("no extension was negotiated")
	case (p[1]&maskBit != 0) != masked:
		return h, errViolation("a client masks its frames, a server does not")
	case h.opcode&opControl != 0 && (!h.fin || h.payload > maxControlBody):
		return h, errViolation("a control frame is too long or fragmented")
	}
	n := 2
	switch h.payload {
	case 126:
		if n = 4; len(p) >= n {
			h.payload = uint64(binary.BigEndian.Uint16(p[2:]))
		}
	case 127:
		if n = 10; len(p) >= n {
			h.payload = binary.BigEndian.Uint64(p[2:])
		}
	}
	if masked {
		n += 4
	}
	if len(p) < n {
		return h, nil
	}
	if h.payload > 1<<62 {
		return h, errViolation("a frame longer than can be")
	}
	if masked {
		copy(h.key[:], p[n-4:])
	}
	h.length = n
	return h, nil
}

// unmask takes the mask off p, or puts it on; phase is where in the key it begins, and what is returned where it ends.
func unmask(p []byte, key [4]byte, phase int) int {
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
