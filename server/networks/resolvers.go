package networks

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/transport"
)

// errNoDNS means that clients would be told domains only.
var errNoDNS = errors.New("there are domains, and no DNS server that knows their names")

// resolvers returns what the clients of a token are told of DNS: the token's servers in place of
// those for all clients, and its domains beside those. With an error both are nil.
func (s Site) resolvers(dns []netip.Addr, domains []string) ([]netip.Addr, []string, error) {
	if len(dns) == 0 {
		dns = s.DNS
	}
	domains = slices.Concat(s.Domains, domains)
	slices.Sort(domains)
	domains = slices.Compact(domains)
	if len(dns) == 0 && len(domains) > 0 {
		return nil, nil, errNoDNS
	}
	if err := transport.CheckDNS(dns); err != nil {
		return nil, nil, fmt.Errorf("DNS servers: %w", err)
	}
	if err := transport.CheckDomains(domains); err != nil {
		return nil, nil, fmt.Errorf("domains, with those for all clients: %w", err)
	}
	return dns, domains, nil
}
