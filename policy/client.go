package policy

import (
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"tunnel/packet"
)

// Client is the policy of a client: the server may send packets of the private network, of the
// networks that the client has taken, with Public of public addresses, and no others but ICMP
// errors about packets that went there, to the client and the networks behind it. Its methods may
// be called concurrently.
type Client struct {
	Address netip.Addr   // the client's own
	Network netip.Prefix // the private network
	Behind  Prefixes     // the networks that the client offers, as others see them
	Public  bool         // all traffic of this machine goes through the server

	taken, except atomic.Pointer[bart.Lite] // nil for none
}

// Take makes networks those that the client reaches through the server, beside the private one.
func (c *Client) Take(networks []netip.Prefix) { c.taken.Store(NewPrefixes(networks).table) }

// Except makes networks those that this machine's programs reach by other interfaces, also with
// Public: what the server says of paths to these is not believed.
func (c *Client) Except(networks []netip.Prefix) { c.except.Store(NewPrefixes(networks).table) }

// reaches reports whether a is reached through the server.
func (c *Client) reaches(a netip.Addr) bool {
	return c.Network.Contains(a) || c.Public && public(a) || in(&c.taken, a)
}

func in(networks *atomic.Pointer[bart.Lite], a netip.Addr) bool {
	table := networks.Load()
	return table != nil && table.Lookup(a)
}

// outside is reaches without the private network.
func (c *Client) outside(a netip.Addr) bool { return !c.Network.Contains(a) && c.reaches(a) }

// Owns reports whether a is the client's, or in a network behind it.
func (c *Client) Owns(a netip.Addr) bool { return a == c.Address || c.Behind.Contain(a) }

// FromServer judges record i of a batch from the server.
func (c *Client) FromServer(b *packet.Batch, i int) Verdict {
	if malformed(b, i) {
		return Malformed
	}
	ip := b.IP(i)
	if from := packet.Source(ip); !c.reaches(from) &&
		(special(from) != Pass || c.Owns(from) || !reports(ip, c.outside)) {
		return Source
	}
	if !c.Owns(packet.Destination(ip)) {
		return Destination
	}
	// A packet from the tunnel may report on paths through the tunnel only.
	return paths(ip, func(sender, receiver netip.Addr) bool {
		return c.Owns(sender) && c.reaches(receiver) && !in(&c.except, receiver)
	})
}
