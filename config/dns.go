package config

import (
	"net/netip"
	"slices"
	"strings"

	"tunnel/config/location"
	"tunnel/config/setting"
	"tunnel/transport"
)

func dnsServers(p *[]netip.Addr) setting.Value {
	return setting.Several[netip.Addr]{P: p, Split: setting.ByCommas, Format: netip.Addr.String,
		Parse: location.ParseDNS}
}

func dnsDomains(p *[]string) setting.Value {
	return setting.Several[string]{P: p, Split: setting.ByCommas, Format: strings.Clone,
		Parse: location.ParseDomain}
}

// checkDNS checks the DNS servers and domains together.
func (s *Serve) checkDNS(c *setting.Checker) {
	if err := transport.CheckDNS(s.DNS); err != nil {
		c.Wrong("dns", ": %v", err)
	}
	if err := transport.CheckDomains(s.DNSDomain); err != nil {
		c.Wrong("dns-domain", ": %v", err)
	}
	if len(s.DNSDomain) > 0 && len(s.DNS) == 0 {
		c.About("dns-domain", "--dns-domain is for --dns ADDRESS: give that too")
	}
}

// UnreachedDNS returns the DNS servers that have a private address and lie neither in the private
// network nor in one that all clients may reach.
func (s *Serve) UnreachedDNS() (all []netip.Addr) {
	for _, a := range s.DNS {
		if a.IsPrivate() && !slices.ContainsFunc(append(slices.Clip(s.PushRoute), s.Network),
			func(n netip.Prefix) bool { return n.Contains(a) }) {
			all = append(all, a)
		}
	}
	return all
}

// AllNames reports whether the server's DNS servers are to resolve the names of all domains.
func (o *Connect) AllNames() bool { return o.AcceptDNS || o.FullTunnel }
