package policy

import (
	"net/netip"

	"tunnel/packet"
)

// Client is the policy of a client: the server may send packets of the private network, and no
// others.
type Client struct {
	Address netip.Addr   // the client's own
	Network netip.Prefix // the private network
}

// FromServer judges record i of a batch from the server.
func (c Client) FromServer(b *packet.Batch, i int) Verdict {
	if malformed(b, i) {
		return Malformed
	}
	ip := b.IP(i)
	if !c.Network.Contains(packet.Source(ip)) {
		return Source
	}
	if packet.Destination(ip) != c.Address {
		return Destination
	}
	// A packet from the tunnel may report on paths inside the tunnel only.
	return paths(ip, func(sender, receiver netip.Addr) bool {
		return sender == c.Address && c.Network.Contains(receiver)
	})
}
