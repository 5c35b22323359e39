package policy

import (
	"errors"
	"net/netip"

	"tunnel/packet"
)

// malformed reports whether record i of b has a virtio header that contradicts its packet.
func malformed(b *packet.Batch, i int) bool {
	return b.Framing() == packet.FramingVnet && packet.Check(b.Record(i)) != nil
}

// paths judges ICMP errors about paths, see packet.CheckPaths.
func paths(ip []byte, sent func(sender, receiver netip.Addr) bool) Verdict {
	switch err := packet.CheckPaths(ip, sent); {
	case err == nil:
		return Pass
	case errors.Is(err, packet.ErrICMP):
		return ICMP
	}
	return Malformed
}

// reports reports whether ip is an ICMP error about a packet that its own receiver has sent to an
// address for which sent returns true. Routers on the path report from addresses of any network.
func reports(ip []byte, sent func(to netip.Addr) bool) bool {
	sender, receiver, ok := packet.Quoted(ip)
	return ok && sender == packet.Destination(ip) && sent(receiver)
}

// special returns why packets from or to a are never forwarded (RFC 6890), Pass if they may be.
// They include link-local addresses, which name another host on every link (RFC 3927 section 7).
func special(a netip.Addr) Verdict {
	if !a.Is4() {
		switch {
		case a.IsMulticast():
			return Multicast
		case a.IsLoopback():
			return Loopback
		case a.IsUnspecified(), a.IsLinkLocalUnicast(), a.Is4In6():
			return Martian
		}
		return Pass
	}
	switch b := a.As4(); {
	case b == [4]byte{255, 255, 255, 255}:
		return Broadcast
	case b[0] >= 240, b[0] == 0, b[0] == 169 && b[1] == 254:
		return Martian
	case b[0] >= 224:
		return Multicast
	case b[0] == 127:
		return Loopback
	}
	return Pass
}

// public reports whether a may be a host on the internet: an IPv4 address that is neither private
// (RFC 1918, RFC 6598), for protocols (192.0.0.0/24) or for benchmarks (198.18.0.0/15, RFC 6890),
// nor special, nor 168.63.129.16, by which a machine at Azure gets its secrets. The firewall has
// the same list (firewall/table.go).
func public(a netip.Addr) bool {
	if !a.Is4() || a.IsPrivate() || special(a) != Pass {
		return false
	}
	switch b := a.As4(); {
	case b[0] == 100 && b[1]&0xc0 == 64, b[0] == 192 && b[1] == 0 && b[2] == 0,
		b[0] == 198 && b[1]&0xfe == 18, b == [4]byte{168, 63, 129, 16}:
		return false
	}
	return true
}
