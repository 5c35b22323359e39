// Package ways says by which interfaces networks are reached.
package ways

import (
	"context"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Known remembers the interfaces, so that a network whose interface is down is not taken for one
// behind the default route. The zero Known is ready for use, by one goroutine at a time.
type Known struct {
	links map[netip.Prefix][]int // their indices
}

// Complete returns g, for the table of dev with those rules, with what this machine's tables and
// routes say: Others and Ways. The error may be a firewall.ErrRules.
func (k *Known) Complete(ctx context.Context, m journal.Machine, dev string, r firewall.Rules,
	g firewall.Guards) (firewall.Guards, error) {
	g, err := g.Beside(ctx, m, dev)
	if err == nil {
		g.Ways, err = k.to(m.Look, r.Reached())
	}
	return g, err
}

// to returns the interfaces that routes lead to the networks by, or to parts of them, in order of
// the prefixes; the halves of a default route (0.0.0.0/1) are none. If the last route to a part is
// gone the part keeps its interfaces, of which one that is gone has no name. It returns none of
// more than firewall.MaxLAN parts.
func (k *Known) to(look rtnl.Lookup, networks []netip.Prefix) (all []rtnl.Near, err error) {
	if look == nil || len(networks) == 0 {
		k.links = nil
		return nil, nil
	}
	routes, parts := []rtnl.Route{}, map[netip.Prefix]bool{}
	err = look.Routes(0, 0, func(r rtnl.Route) bool {
		if r.Type != unix.RTN_UNICAST || r.Dst.Bits() <= 1 {
			return true
		}
		for _, n := range networks {
			if n.Overlaps(r.Dst) {
				parts[longer(n, r.Dst)] = true
				routes = append(routes, r)
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for part := range k.links {
		if slices.ContainsFunc(networks, part.Overlaps) {
			parts[part] = true
		}
	}
	if len(parts) > firewall.MaxLAN {
		k.links = nil
		return nil, nil
	}
	links := map[netip.Prefix][]int{}
	for part := range parts {
		if links[part] = leading(routes, part); len(links[part]) == 0 {
			links[part] = k.links[part]
		}
		for _, index := range links[part] {
			link, err := look.LinkByIndex(index)
			if err != nil {
				return nil, err
			}
			all = append(all, rtnl.Near{Dev: link.Name, Network: part})
		}
	}
	k.links = links
	slices.SortFunc(all, rtnl.Near.Compare)
	return all, nil
}

// leading returns the interfaces of the longest routes that contain a network.
func leading(routes []rtnl.Route, n netip.Prefix) (links []int) {
	longest := 0
	for _, r := range routes {
		if r.Dst.Bits() <= n.Bits() && r.Dst.Contains(n.Addr()) {
			longest = max(longest, r.Dst.Bits())
		}
	}
	for _, r := range routes {
		if r.Dst.Bits() != longest || !r.Dst.Contains(n.Addr()) {
			continue
		}
		for _, h := range r.Hops {
			if !slices.Contains(links, h.Index) {
				links = append(links, h.Index)
			}
		}
	}
	return links
}

func longer(a, b netip.Prefix) netip.Prefix {
	if a.Bits() >= b.Bits() {
		return a.Masked()
	}
	return b.Masked()
}
