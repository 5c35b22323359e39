package policy

import (
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"tunnel/packet"
)

// Client is the policy of a client: the server may send packets of the private network, of the
// networks that the client has taken, and no others but ICMP errors about packets that went there,
// to the client and the networks behind it; with Public of public addresses, too, to the client
// only. Its methods may be called concurrently.
type Client struct {
	Address netip.Addr   // the client's own
	Network netip.Prefix // the private network
	Behind  Prefixes     // the networks that the client offers, as others see them
	Public  bool         // all traffic of this machine itself goes through the server

	taken, except atomic.Pointer[bart.Lite] // nil for none
}

// Take makes networks those that the client reaches through the server, beside the private one.
func (c *Client) Take(networks []netip.Prefix) { c.taken.Store(NewPrefixes(networks).table) }

// Except makes networks those that this machine's programs reach by other interfaces, also with
// Public: what the server says of paths to these is not believed.
func (c *Client) Except(networks []netip.Prefix) { c.except.Store(NewPrefixes(networks).table) }

// reaches reports whether own, an address that the client owns, reaches a through the server. A
// full tunnel is this machine's: hosts behind it have the internet elsewhere.
func (c *Client) reaches(own, a netip.Addr) bool {
	return c.Network.Contains(a) || c.Public && own == c.Address && public(a) || in(&c.taken, a)
}

func in(networks *atomic.Pointer[bart.Lite], a netip.Addr) bool {
	table := networks.Load()
	return table != nil && table.Lookup(a)
}

// Owns reports whether a is the client's, or in a network behind it.
func (c *Client) Owns(a netip.Addr) bool { return a == c.Address || c.Behind.Contain(a) }

// FromServer judges record i of a batch from the server.
func (c *Client) FromServer(b *packet.Batch, i int) Verdict {
	if malformed(b, i) {
		return Malformed
	}
	ip := b.IP(i)
	from, to := packet.Source(ip), packet.Destination(ip)
	if !c.reaches(to, from) && (special(from) != Pass || c.Owns(from) ||
		!reports(ip, func(a netip.Addr) bool { return !c.Network.Contains(a) && c.reaches(to, a) })) {
		return Source
	}
	if !c.Owns(to) {
		return Destination
	}
	// A packet from the tunnel may report on paths through the tunnel only.
	return paths(ip, func(sender, receiver netip.Addr) bool {
		return c.Owns(sender) && c.reaches(sender, receiver) && !in(&c.except, receiver)
	})
}
