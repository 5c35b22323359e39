package client

import (
	"context"
	"net/netip"

	"tunnel/route"
	"tunnel/transport"
)

// findWays looks up which interfaces lead to the networks behind this client.
func (c *Client) findWays(ctx context.Context, link transport.Link) {
	lookup := func(a netip.Addr) (route.NextHop, error) {
		return c.Host.NextHop(ctx, netip.AddrPortFrom(a, 0))
	}
	c.ways = c.Site.Ways(c.Device.Name(), link.Network, lookup, c.ways, c.Log)
}
