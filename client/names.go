package client

import (
	"net/netip"

	"tunnel/dns"
)

// namesSet is told what the server's DNS settings have become. The first that fail end the client
// if the user wants the server to resolve all names: without that all names would go elsewhere. If
// there are none the failure is about this machine's own servers, which a full tunnel was to ask.
func (c *Client) namesSet(names dns.Config, err error) {
	if c.Events.Names != nil {
		c.Events.Names(names, err)
	}
	if err != nil && c.AllNames && !c.named && !names.IsZero() {
		c.monitor.lost(err)
	}
	c.named = c.named || err == nil && !names.IsZero()
}

// resolvers returns this machine's DNS servers without those that this client has set: these may be
// in the network that the server grants.
func (c *Client) resolvers() ([]netip.Addr, error) {
	all, err := c.Resolvers()
	return c.monitor.keeper.Without(all), err
}
