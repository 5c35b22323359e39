package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"tunnel/config/setting"
	"tunnel/transport"
)

// ParseDNS parses the address of a DNS server for clients. The error continues the setting's name.
func ParseDNS(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil || transport.CheckDNS([]netip.Addr{a}) != nil:
		return a, fmt.Errorf(" %s is not the address of a host, like 10.1.1.1", s)
	case a.IsLoopback() || a.IsLinkLocalUnicast():
		return a, fmt.Errorf(" %s is another host for each client: give an address that they reach "+
			"through the tunnel", s)
	}
	return a, nil
}

// ParseDomain parses a domain, and returns it in lower case, in A-labels (RFC 5890) and without a
// final dot. The error continues the setting's name.
func ParseDomain(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	wrong := fmt.Errorf(" %s is not a domain, like corp.example", s)
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		var err error
		if name, err = idna.Lookup.ToASCII(name); err != nil {
			return "", wrong
		}
	}
	if transport.CheckDomains([]string{name}) != nil {
		return "", wrong
	}
	return name, nil
}

func dnsServers(p *[]netip.Addr) setting.Value {
	return setting.Several[netip.Addr]{P: p, Split: setting.ByCommas, Format: netip.Addr.String,
		Parse: ParseDNS}
}

func dnsDomains(p *[]string) setting.Value {
	return setting.Several[string]{P: p, Split: setting.ByCommas, Format: strings.Clone,
		Parse: ParseDomain}
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
