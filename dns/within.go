package dns

import (
	"net/netip"
	"slices"
)

// Within returns c with those of its servers that are reached through the tunnel; the zero Config
// if none is. They lie in one of the networks or, with full, which is a full tunnel, on the
// internet.
func (c Config) Within(networks []netip.Prefix, full bool) Config {
	c.Servers = slices.DeleteFunc(slices.Clone(c.Servers), func(s netip.Addr) bool {
		return !(full && isPublic(s)) &&
			!slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(s) })
	})
	if len(c.Servers) == 0 {
		return Config{}
	}
	return c
}
