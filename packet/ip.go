// Package packet parses and builds raw IP packets and batches of them: lengths, addresses,
// checksums, and the records of a WebSocket message. It uses neither devices nor sockets, and
// allocates nothing per packet.
package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// MaxPacket is the largest IP packet that a record can hold, in bytes: the 16-bit total length of
// IPv4 (RFC 791 section 3.1) plus the fixed header that IPv6 does not count in its payload length
// (RFC 8200 section 3).
const MaxPacket = maxIPv4Len + ipv6HeaderLen

// maxIPv4Len is the largest total length of an IPv4 packet, in bytes.
const maxIPv4Len = 65535

const (
	ipv4MinHeaderLen = 20
	ipv6HeaderLen    = 40
)

// ErrMalformed is returned for bytes that are not an IP packet, or a batch that does not end where
// its last packet ends.
var ErrMalformed = errors.New("malformed packet")

// ErrShort is an ErrMalformed for the beginning of an IP packet.
var ErrShort = fmt.Errorf("%w: cut short", ErrMalformed)

// Length returns the length in bytes of the IP packet at the start of p, from its own header. The
// error is ErrMalformed when the version is neither 4 nor 6 or the header contradicts itself,
// ErrShort when p is shorter than the header, or than the length that it gives.
func Length(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, ErrShort
	}
	var n int
	switch p[0] >> 4 {
	case 4:
		if len(p) < ipv4MinHeaderLen {
			return 0, ErrShort
		}
		header := int(p[0]&0x0f) * 4
		n = int(binary.BigEndian.Uint16(p[2:]))
		if header < ipv4MinHeaderLen || n < header {
			return 0, ErrMalformed
		}
	case 6:
		if len(p) < ipv6HeaderLen {
			return 0, ErrShort
		}
		n = ipv6HeaderLen + int(binary.BigEndian.Uint16(p[4:]))
	default:
		return 0, ErrMalformed
	}
	if n > len(p) {
		return 0, ErrShort
	}
	return n, nil
}

// Source returns the source address of an IP packet that Length has accepted.
func Source(p []byte) netip.Addr {
	if p[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(p[12:16]))
	}
	return netip.AddrFrom16([16]byte(p[8:24]))
}

// Destination returns the destination address of an IP packet that Length has accepted.
func Destination(p []byte) netip.Addr {
	if p[0]>>4 == 4 {
		return netip.AddrFrom4([4]byte(p[16:20]))
	}
	return netip.AddrFrom16([16]byte(p[24:40]))
}
