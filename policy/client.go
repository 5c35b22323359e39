package policy

import (
	"net/netip"

	"tunnel/packet"
)

// Client is the policy of a client. It trusts its server with the private network, and not with the
// rest of this machine.
type Client struct {
	Address netip.Addr   // the client's own
	Network netip.Prefix // the private network
}

// FromServer judges record i of a batch that the server has sent.
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
	// What comes through the tunnel says nothing of other paths than the tunnel's.
	return paths(ip, func(sender, receiver netip.Addr) bool {
		return sender == c.Address && c.Network.Contains(receiver)
	})
}
