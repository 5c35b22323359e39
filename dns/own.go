package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tunnel/cmdrun"
	"tunnel/journal"
)

// OrOwn returns c, or if it is none what a full tunnel by a device needs in its place: where
// systemd-resolved resolves names, the public IPv4 servers that DHCP or a user has given to other
// links. It asks these by their link (IP_UNICAST_IF), past the routes of the tunnel, and a full
// tunnel refuses that; as servers of the tunnel's own device they are asked through it. Private
// ones are asked on the LAN. A systemd-resolved that does not know the device is that of another
// network namespace. The error is an ErrNotSet: the servers are not known.
func (c Config) OrOwn(m journal.Machine, o Owner) (Config, error) {
	if !c.IsZero() {
		return c, nil
	}
	uses, err := Detect(o)
	if err != nil || uses != ByResolved {
		return c, wrap(err)
	}
	out, err := look(m, cmdrun.Command{Program: "resolvectl", Args: []string{"dns"}, Routine: true})
	if servers := ofLinks(string(out), o); len(servers) > 0 {
		return Config{Servers: servers, All: true}, wrap(err)
	}
	return c, wrap(err)
}

// wrap returns an ErrNotSet because of err; nil for nil.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: find the DNS servers of this machine's links: %w", ErrNotSet, err)
}

// ofLinks returns the public IPv4 servers that `resolvectl dns` prints for other links than that of
// o, none if it has no line of that: one "Link 2 (eth0): 203.0.113.53 2001:db8::53" for each, which
// newer versions wrap, and one "Global:" with those that are asked by the machine's routes.
func ofLinks(text string, o Owner) (all []netip.Addr) {
	own := fmt.Sprintf("Link %d (%s", o.Index, o.Dev)
	known, other := false, false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Global:") {
			other = false
		}
		if head, servers, found := strings.Cut(line, "):"); found {
			known = known || head == own
			other, line = head != own, servers
		}
		for word := range strings.FieldsSeq(line) {
			address, _, _ := strings.Cut(word, "#") // before the name of its certificate
			a, err := netip.ParseAddr(address)
			if other && err == nil && isPublic(a) && len(all) < MaxServers && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	if !known {
		return nil
	}
	return all
}

// isPublic reports whether a DNS server may have the address on the internet, by IPv4.
func isPublic(a netip.Addr) bool {
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return a.Is4() && isServer(a) && !a.IsPrivate() && !shared.Contains(a)
}
