package route

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// minBits6 is the length of the largest IPv6 network of a LAN.
const minBits6 = 32

// LAN returns the private and link-local networks that this machine has addresses in, with their
// interfaces, but for those of the tunnel's own device, in order, without those that lie in another
// one of the same interface, and the names of the interfaces. A part of one to which a route leads
// by another interface, without a gateway, is in it, too: containers have such parts.
// Link-local networks of IPv6 are not in it: every interface has the same.
func (v View) LAN() (all []rtnl.Near, links []string, err error) {
	four, err := v.Look.Addrs(0)
	if err != nil {
		return nil, nil, err
	}
	six, err := v.Look.Networks6()
	if err != nil {
		return nil, nil, err
	}
	linkLocal := netip.MustParsePrefix("169.254.0.0/16")
	for _, a := range append(four, six...) {
		n := netip.PrefixFrom(a.Local, a.PrefixLen).Masked()
		private := isLocal(n) || linkLocal.Contains(a.Local) && n.Bits() >= linkLocal.Bits()
		if private && a.Index != v.Own && !a.Peer.IsValid() && !n.IsSingleIP() {
			link, err := v.Look.LinkByIndex(a.Index)
			if err != nil {
				return nil, nil, err
			}
			if link.Name != "" {
				all = append(all, rtnl.Near{Dev: link.Name, Network: n})
				links = append(links, link.Name)
			}
		}
	}
	lan := inOrder(all)
	within, err := v.routed(func(r rtnl.Route) bool {
		return !slices.ContainsFunc(r.Hops, func(h rtnl.Hop) bool { return h.Via.IsValid() }) &&
			slices.ContainsFunc(lan, func(n rtnl.Near) bool { return contains(n.Network, r.Dst) })
	})
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(links)
	return inOrder(slices.Concat(lan, within)), slices.Compact(links), nil
}

// contains reports whether n has all addresses of another network.
func contains(n, other netip.Prefix) bool {
	return n.Bits() <= other.Bits() && n.Contains(other.Addr())
}

// routed returns the networks of the main table's routes that lead to private ones without the
// tunnel, and that use has.
func (v View) routed(use func(rtnl.Route) bool) (all []rtnl.Near, err error) {
	names := map[int]string{}
	var failed error
	visit := func(r rtnl.Route) bool {
		if r.Type != unix.RTN_UNICAST || !isLocal(r.Dst) || !use(r) {
			return true
		}
		for _, h := range r.Hops {
			if _, known := names[h.Index]; !known && h.Index != v.Own {
				link, err := v.Look.LinkByIndex(h.Index)
				if err != nil {
					failed = err
					return false
				}
				names[h.Index] = link.Name
			}
			if name := names[h.Index]; name != "" {
				all = append(all, rtnl.Near{Dev: name, Network: r.Dst.Masked()})
			}
		}
		return true
	}
	err = v.Look.Routes(unix.RT_TABLE_MAIN, 0, visit)
	if err == nil && failed == nil {
		err = v.Look.Routes6(unix.RT_TABLE_MAIN, visit)
	}
	return all, cmp.Or(err, failed)
}

// isLocal reports whether a network is private, and no larger than a LAN may be.
func isLocal(n netip.Prefix) bool {
	uniqueLocal := netip.MustParsePrefix("fc00::/7") // RFC 4193
	return IsPrivate(n) && n.Bits() >= minBits ||
		uniqueLocal.Contains(n.Addr()) && n.Bits() >= minBits6
}

// inOrder returns the networks in order, without those that lie in another one of the same
// interface, which is before them.
func inOrder(all []rtnl.Near) []rtnl.Near {
	slices.SortFunc(all, func(a, b rtnl.Near) int {
		return cmp.Or(strings.Compare(a.Dev, b.Dev), a.Network.Compare(b.Network))
	})
	rest := all[:0]
	for _, n := range all {
		if last := len(rest) - 1; last < 0 || rest[last].Dev != n.Dev ||
			!rest[last].Network.Overlaps(n.Network) {
			rest = append(rest, n)
		}
	}
	return rest
}

// Local returns LAN, and behind that the private networks that the main table leads to without the
// tunnel: behind a router of the LAN, or by another VPN. The links are those of LAN.
func (v View) Local() (all []rtnl.Near, links []string, err error) {
	if all, links, err = v.LAN(); err != nil {
		return nil, nil, err
	}
	more, err := v.routed(func(rtnl.Route) bool { return true })
	if err != nil {
		return nil, nil, err
	}
	more = slices.DeleteFunc(inOrder(more), func(n rtnl.Near) bool {
		return slices.ContainsFunc(all, func(of rtnl.Near) bool {
			return of.Dev == n.Dev && contains(of.Network, n.Network)
		})
	})
	return append(all, more...), links, nil
}
