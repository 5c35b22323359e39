package hostile

import (
	"encoding/binary"
	"net/netip"
)

// Bytes of a WebSocket frame (RFC 6455 section 5.2).
const (
	Fin        = 0x80
	Masked     = 0x80
	OpContinue = 0x0
	OpText     = 0x1
	OpBinary   = 0x2
	OpClose    = 0x8
	OpPing     = 0x9
)

// Frame returns a client's frame with the right length. Its mask is 0, so the payload is unchanged.
func Frame(first byte, payload []byte) []byte {
	return append(FrameHead(first, Masked, uint64(len(payload))), payload...)
}

// FrameHead returns the header of a frame that claims to have n bytes. mask is Masked or 0.
func FrameHead(first, mask byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), n)
	}
	if mask != 0 {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// EchoRequest returns an IPv4 packet with an ICMP echo request. The addresses are IPv4.
func EchoRequest(from, to netip.Addr, payload int) []byte {
	p := make([]byte, 28+payload)
	p[0], p[8], p[9], p[20] = 0x45, 64, 1, 8
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	source, destination := from.As4(), to.As4()
	copy(p[12:], source[:])
	copy(p[16:], destination[:])
	binary.BigEndian.PutUint16(p[10:], Checksum(p[:20]))
	binary.BigEndian.PutUint16(p[22:], Checksum(p[20:]))
	return p
}

// Checksum returns the Internet checksum (RFC 1071).
func Checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data)-1; i += 2 {
		sum += uint32(data[i])<<8 + uint32(data[i+1])
	}
	if len(data)%2 == 1 {
		sum += uint32(data[len(data)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
