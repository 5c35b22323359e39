package policy

import (
	"net/netip"

	"tunnel/packet"
)

// Hub is the policy of a server. It does not change while the server runs.
type Hub struct {
	Server         netip.Addr   // the server's own address
	Network        netip.Prefix // the private network
	ClientToClient bool         // clients may send to each other
	// reports whether a client has a, or had it recently; must not block
	Attached func(a netip.Addr) bool
}

// FromMember judges record i of a batch from m.
func (h *Hub) FromMember(m *Member, b *packet.Batch, i int) Verdict {
	if malformed(b, i) {
		return Malformed
	}
	ip := b.IP(i)
	if v := h.addresses(m, ip); v != Pass {
		return v
	}
	// m may report on the paths of packets to m only.
	to := packet.Destination(ip)
	return paths(ip, func(sender, receiver netip.Addr) bool {
		return sender == to &&
			m.Has(receiver)
	})
}

// addresses judges the addresses of a packet from m.
func (h *Hub) addresses(m *Member, ip []byte) Verdict {
	if from := packet.Source(ip); !m.Has(from) {
		if v := special(from); v != Pass {
			return v
		}
		return Source
	}
	to := packet.Destination(ip)
	if to == h.Server {
		return Pass
	}
	if !h.Network.Contains(to) {
		if v := special(to); v != Pass {
			return v
		}
		if !h.Attached(to) { // behind no client
			return Destination
		}
	} else if h.broadcast(to) {
		return Broadcast
	}
	if !h.ClientToClient {
		return ClientToClient
	}
	return Pass
}

// FromKernel judges a packet that the server's kernel sends into the device. Without ClientToClient
// packets between clients are dropped here as well, because the kernel may forward them.
func (h *Hub) FromKernel(ip []byte) Verdict {
	from := packet.Source(ip)
	if from == h.Server {
		return Pass
	}
	if !h.ClientToClient && (h.Attached(from) || h.Network.Contains(from)) {
		return ClientToClient
	}
	if v := special(packet.Destination(ip)); v != Pass {
		return v
	}
	return special(from)
}

// Unreachable returns the reason why a packet that passed has no receiver.
func (h *Hub) Unreachable(to netip.Addr) Verdict {
	if h.Network.Contains(to) {
		if h.broadcast(to) {
			return Broadcast
		}
	} else if v := special(to); v != Pass {
		return v
	}
	return NoPeer
}

// broadcast reports whether an address of the network is its broadcast address: the last, and the
// first, which is the obsolete form (RFC 1122 section 3.3.6).
func (h *Hub) broadcast(a netip.Addr) bool {
	return a == h.Network.Addr() || !h.Network.Contains(a.Next())
}
