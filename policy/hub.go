package policy

import (
	"net/netip"

	"tunnel/packet"
)

// Hub is the policy of a server. It does not change while the server runs; the rules of its members
// do.
type Hub struct {
	Server         netip.Addr   // the server's own address
	Network        netip.Prefix // the private network
	ClientToClient bool         // clients may send to each other
	Public         bool         // clients may send to public addresses, and get answers from there
	// returns the client that has a, or that a lies behind, also if it is not here; nil if nothing
	// more is known of that one, and ok is false if there is none. It alone says which client may
	// send from a. Must not block
	Member func(a netip.Addr) (m *Member, ok bool)
}

// FromMember judges record i of a batch from m. kernel reports whether a packet that passes is for
// the server's kernel; if not, it is for another client.
func (h *Hub) FromMember(m *Member, b *packet.Batch, i int) (v Verdict, kernel bool) {
	if malformed(b, i) {
		return Malformed, false
	}
	ip := b.IP(i)
	if v, kernel = h.addresses(m, ip); v != Pass {
		return v, false
	}
	// m may report on the paths of packets to m only.
	to := packet.Destination(ip)
	v = paths(ip, func(sender, receiver netip.Addr) bool {
		return sender == to && h.owns(m, receiver)
	})
	return v, kernel && v == Pass
}

// owns reports whether a is m's own address, or lies behind it.
func (h *Hub) owns(m *Member, a netip.Addr) bool {
	if a == m.Address {
		return true
	}
	owner, _ := h.Member(a)
	return owner == m
}

// addresses judges the addresses of a packet from m.
func (h *Hub) addresses(m *Member, ip []byte) (v Verdict, kernel bool) {
	from, to := packet.Source(ip), packet.Destination(ip)
	if !h.owns(m, from) {
		if v := special(from); v != Pass {
			return v, false
		}
		return Source, false
	}
	if to == h.Server {
		return Pass, true
	}
	inside := h.Network.Contains(to)
	switch {
	case inside && h.broadcast(to):
		return Broadcast, false
	case inside && h.ClientToClient:
		return Pass, false
	}
	if v := special(to); v != Pass {
		return v, false
	}
	receiver, behind := h.Member(to)
	switch {
	case behind && (h.ClientToClient || m.reaches(to)):
		return Pass, false
	case receiver != nil && receiver.reaches(from): // m is in a network that is pushed to it
		return Pass, false
	case behind || inside:
		return ClientToClient, false
	case h.outside(m, to):
		return Pass, true
	}
	return Destination, false
}

// outside reports whether m may send to a, if it lies behind no client, by the server's kernel.
func (h *Hub) outside(m *Member, a netip.Addr) bool {
	return m.reaches(a) || h.Public && public(a)
}

// FromKernel judges a packet that the server's kernel sends into the device. The kernel may forward
// anything: between clients it passes with ClientToClient only, and from elsewhere if it comes from
// a network that is pushed to its receiver, or with Public from a public address, or is an ICMP
// error of a router about a packet that its receiver has sent there.
func (h *Hub) FromKernel(ip []byte) Verdict {
	from := packet.Source(ip)
	if from == h.Server {
		return Pass
	}
	to := packet.Destination(ip)
	if v := special(to); v != Pass {
		return v
	}
	if v := special(from); v != Pass {
		return v
	}
	client := h.Network.Contains(from)
	if !client {
		_, client = h.Member(from)
	}
	if client && h.ClientToClient {
		return Pass
	}
	receiver, ok := h.Member(to)
	switch {
	case receiver != nil && receiver.reaches(from):
		return Pass
	case client:
		return ClientToClient
	case !ok: // it goes nowhere, see Unreachable
		return Pass
	case h.Public && public(from):
		return Pass
	case receiver != nil && reports(ip, func(to netip.Addr) bool {
		_, behind := h.Member(to)
		return !behind && h.outside(receiver, to)
	}):
		return Pass
	}
	return NotPushed
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
