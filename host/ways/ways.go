// Package ways says by which interfaces networks are reached.
package ways

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
	"tunnel/rtnl"
)

// Known remembers the interfaces, so that a network whose interface is down is not taken for one
// behind the default route. The zero Known is ready for use, by one goroutine at a time.
type Known struct {
	devs map[netip.Prefix][]string
}

// To returns the interfaces that routes lead to the networks by, or to parts of them, in order of
// the prefixes; the halves of a default route (0.0.0.0/1) are none. If the last route to a part is
// gone the part keeps its interfaces. It returns none of more than firewall.MaxLAN parts.
func (k *Known) To(look rtnl.Lookup, networks []netip.Prefix) (all []rtnl.Near, err error) {
	if look == nil || len(networks) == 0 {
		k.devs = nil
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
	for part := range k.devs {
		if slices.ContainsFunc(networks, part.Overlaps) {
			parts[part] = true
		}
	}
	if len(parts) > firewall.MaxLAN {
		k.devs = nil
		return nil, nil
	}
	devs := map[netip.Prefix][]string{}
	for part := range parts {
		if devs[part], err = leading(look, routes, part); err != nil {
			return nil, err
		}
		if len(devs[part]) == 0 {
			devs[part] = k.devs[part]
		}
		for _, dev := range devs[part] {
			all = append(all, rtnl.Near{Dev: dev, Network: part})
		}
	}
	k.devs = devs
	slices.SortFunc(all, func(a, b rtnl.Near) int { return a.Compare(b) })
	return all, nil
}

// leading returns the interfaces of the longest routes that contain a network.
func leading(look rtnl.Lookup, routes []rtnl.Route, n netip.Prefix) (devs []string, err error) {
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
			link, err := look.LinkByIndex(h.Index)
			if err != nil {
				return nil, err
			}
			if link.Name != "" && !slices.Contains(devs, link.Name) {
				devs = append(devs, link.Name)
			}
		}
	}
	return devs, nil
}

func longer(a, b netip.Prefix) netip.Prefix {
	if a.Bits() >= b.Bits() {
		return a.Masked()
	}
	return b.Masked()
}
