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
