package packet

import (
	"encoding/binary"
	"net/netip"
)

// Values of IP headers that tell what a host does with a packet beyond handing it to a program.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58

	optionEnd         = 0
	optionNop         = 1
	optionLooseSource = 131 // LSRR, RFC 791
	optionTightSource = 137 // SSRR
)

// ICMPError reports whether ip is an ICMP or ICMPv6 error or redirect, which changes what its receiver thinks of a path
// (RFC 792, RFC 4443): kernels believe a path MTU for whatever two addresses the quoted packet names. about reports whether
// it is an error about a packet that from has sent to to, as far as the quoted header goes; a redirect never is. A fragment
// that hides the quoted header is an error about nothing.
func ICMPError(ip []byte, sent func(from, to netip.Addr) bool) (is, about bool) {
	var message []byte
	if ip[0]>>4 == 4 {
		// Only the first fragment has a type. Overlapping ones are dropped by kernels (net/ipv4/ip_fragment.c).
		header := int(ip[0]&15) * 4
		if ip[9] != protocolICMP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 || header >= len(ip) {
			return false, false
		}
		message = ip[header:]
		switch message[0] {
		case 3, 4, 11, 12: // unreachable, source quench, time exceeded, parameter problem
		case 5:
			return true, false
		default:
			return false, false
		}
		if len(message) < 8+20 || message[8]>>4 != 4 {
			return true, false
		}
		return true, sent(netip.AddrFrom4([4]byte(message[8+12:])), netip.AddrFrom4([4]byte(message[8+16:])))
	}
	if ip[6] != protocolICMPv6 || len(ip) <= 40 {
		return false, false
	}
	message = ip[40:]
	switch {
	case message[0] == 137: // redirect, RFC 4861
		return true, false
	case message[0] == 0 || message[0] > 127:
		return false, false
	case len(message) < 8+40 || message[8]>>4 != 6:
		return true, false
	}
	return true, sent(netip.AddrFrom16([16]byte(message[8+8:])), netip.AddrFrom16([16]byte(message[8+24:])))
}

// SourceRouted reports whether ip is an IPv4 packet with a source route, by which its sender decides where its receiver
// sends it on (RFC 791 section 3.1; RFC 7126 section 4.3 has hosts drop it), or with options that cannot be read.
func SourceRouted(ip []byte) bool {
	if ip[0] <= 0x45 || ip[0]>>4 != 4 {
		return false
	}
	options := ip[20:min(int(ip[0]&15)*4, len(ip))]
	for len(options) > 0 {
		switch options[0] {
		case optionEnd:
			return false
		case optionNop:
			options = options[1:]
			continue
		case optionLooseSource, optionTightSource:
			return true
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return true
		}
		options = options[options[1]:]
	}
	return false
}
