package location

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

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
