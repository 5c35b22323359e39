package packet

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Errors of CheckPaths.
var (
	ErrSourceRoute = errors.New("a source route, or headers that cannot be judged")
	ErrICMP        = errors.New(
		"an ICMP error about a packet that its receiver has not sent there, or a redirect")
)

// Values of IP headers by which a host does more with a packet than deliver it.
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
	icmpHeaderLen  = 8

	optionEnd         = 0
	optionNop         = 1
	optionLooseSource = 131 // LSRR, RFC 791
	optionTightSource = 137 // SSRR
)

// CheckPaths returns nil if ip, which Length has accepted, may affect its receiver's view of paths.
// sent reports whether from may have sent a packet to to that this packet's sender can know. The
// error is ErrSourceRoute or ErrICMP, without allocation. TCP and UDP without options or extension
// headers cost a comparison.
func CheckPaths(ip []byte, sent func(from, to netip.Addr) bool) error {
	protocol, offset := ip[6], ipv6HeaderLen
	later := false
	if ip[0]>>4 == 4 {
		if sourceRouted(ip) {
			return ErrSourceRoute
		}
		protocol, offset = ip[9], int(ip[0]&15)*4
		if protocol != protocolICMP {
			return nil
		}
		if at := int(binary.BigEndian.Uint16(ip[6:])&0x1fff) * 8; at > 0 {
			// Kernels drop overlapping fragments (net/ipv4/ip_fragment.c); this does not rely on
			// it.
			if at < icmpHeaderLen+ipv4MinHeaderLen {
				return ErrSourceRoute
			}
			return nil
		}
	} else if protocol != protocolTCP && protocol != protocolUDP && protocol != protocolICMPv6 {
		var ok bool
		if protocol, offset, later, ok = upperLayer(ip); !ok {
			return ErrSourceRoute
		}
	}
	switch {
	case later, offset >= len(ip):
	case protocol == protocolICMP && ip[0]>>4 == 4:
		return checkICMP4(ip[offset:], sent)
	case protocol == protocolICMPv6 && ip[0]>>4 == 6:
		return checkICMP6(ip[offset:], sent)
	}
	return nil
}

// Quoted returns the sender and the receiver of the packet about which ip, which Length has
// accepted, is an IPv4 ICMP error: unreachable, time exceeded or parameter problem (RFC 792). ok is
// false if it is none of these, or does not quote an IPv4 header. It does not allocate.
func Quoted(ip []byte) (sender, receiver netip.Addr, ok bool) {
	if ip[0]>>4 != 4 || ip[9] != protocolICMP || sourceRouted(ip) ||
		binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
		return netip.Addr{}, netip.Addr{}, false
	}
	message := ip[min(int(ip[0]&15)*4, len(ip)):]
	if len(message) < icmpHeaderLen+ipv4MinHeaderLen {
		return netip.Addr{}, netip.Addr{}, false
	}
	quoted := message[icmpHeaderLen:]
	switch message[0] {
	case 3, 11, 12:
		return Source(quoted), Destination(quoted), quoted[0]>>4 == 4
	}
	return netip.Addr{}, netip.Addr{}, false
}

// checkICMP4 judges an ICMP message, or its first fragment. An error (RFC 792) changes its
// receiver's view of a path: kernels accept a path MTU for any two addresses that the quoted packet
// names. An error without a readable quoted header is refused.
func checkICMP4(message []byte, sent func(from, to netip.Addr) bool) error {
	switch message[0] {
	case 3, 4, 11, 12: // unreachable, source quench, time exceeded, parameter problem
	case 5:
		return ErrICMP
	default:
		return nil
	}
	quoted := message[min(icmpHeaderLen, len(message)):]
	if len(quoted) < ipv4MinHeaderLen || quoted[0]>>4 != 4 || !sent(Source(quoted),
		Destination(quoted)) {
		return ErrICMP
	}
	return nil
}

// checkICMP6 is checkICMP4 for ICMPv6 (RFC 4443). Neighbor discovery (RFC 4861), redirects among
// it, is for one link and never forwarded; with a hop limit of 255, which a tunnel does not lower,
// its receiver would take it for a neighbor's.
func checkICMP6(message []byte, sent func(from, to netip.Addr) bool) error {
	if kind := message[0]; kind > 127 {
		if kind >= 133 && kind <= 137 {
			return ErrICMP
		}
		return nil
	}
	quoted := message[min(icmpHeaderLen, len(message)):]
	if len(quoted) < ipv6HeaderLen || quoted[0]>>4 != 6 || !sent(Source(quoted),
		Destination(quoted)) {
		return ErrICMP
	}
	return nil
}

// sourceRouted reports whether ip is an IPv4 packet with a source route, which makes its receiver
// send it on (RFC 791 section 3.1; RFC 7126 section 4.3 has hosts drop it), or with options that
// cannot be parsed.
func sourceRouted(ip []byte) bool {
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
