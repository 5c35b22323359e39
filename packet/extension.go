package packet

import "encoding/binary"

// IPv6 extension headers (IANA, IPv6 Extension Header Types). Any other next header is the packet's
// own protocol, where a host stops parsing.
const (
	headerRouting        = 43
	headerFragment       = 44
	headerAuthentication = 51
	headerMobility       = 135
	headerHIP            = 139
	headerShim6          = 140
	headerExperiment1    = 253
	headerExperiment2    = 254
)

// Bounds of a chain of extension headers that upperLayer parses. Hosts do not send longer ones; RFC
// 9098 describes how routers treat them.
const (
	maxExtensions     = 8
	maxExtensionBytes = 256
)

// judgedBytes bounds how much of an IPv6 packet's first fragment is read after its Fragment header:
// extension headers, an ICMPv6 header and the IPv6 header that an error quotes.
const judgedBytes = maxExtensionBytes + icmpHeaderLen + ipv6HeaderLen

// upperLayer parses the extension headers of an IPv6 packet that Length has accepted. It returns
// the protocol after them and its offset from the start of the packet, at most len(ip). ok is false
// if the packet must not be forwarded: it has a routing header with segments left, which makes its
// receiver send it on, or it cannot be judged. A packet cannot be judged if its chain is longer
// than the bounds or does not end within it (RFC 7112 section 5 has hosts drop such a first
// fragment), if it has a header that this program cannot read, or if it is a later fragment that
// begins within judgedBytes and may overwrite what was read there. later reports whether ip is a
// later fragment, which has no headers to judge.
func upperLayer(ip []byte) (protocol uint8, offset int, later, ok bool) {
	protocol, offset = ip[6], ipv6HeaderLen
	fragmented := false
	for range maxExtensions + 1 {
		switch protocol {
		case protocolHopByHop, protocolDestinationOptions, headerRouting, headerFragment,
			headerAuthentication:
		case headerMobility, headerHIP, headerShim6, headerExperiment1, headerExperiment2:
			return protocol, offset, false, false
		default:
			return protocol, offset, false, true
		}
		if len(ip) < offset+8 {
			return protocol, offset, false, false
		}
		header, size := ip[offset:], 8
		switch protocol {
		case headerFragment:
			at := int(binary.BigEndian.Uint16(header[2:]) &^ 7)
			if fragmented {
				return protocol, offset, false, false
			}
			if at > 0 {
				return header[0], offset + size, true, at >= judgedBytes
			}
			fragmented = true
		case headerAuthentication:
			size = 4 * (int(header[1]) + 2) // RFC 4302 section 2.2
		default:
			size = 8 * (int(header[1]) + 1)
			if protocol == headerRouting && header[3] != 0 {
				return protocol, offset, false, false
			}
		}
		protocol, offset = header[0], offset+size
		if offset > len(ip) || offset > ipv6HeaderLen+maxExtensionBytes {
			return protocol, len(ip), false, false
		}
	}
	return protocol, offset, false, false
}
