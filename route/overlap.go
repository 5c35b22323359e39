package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// ErrOverlap says that a network is in use on this machine already.
var ErrOverlap = errors.New("overlaps")

// OverlapError is an ErrOverlap with what is in the way.
type OverlapError struct {
	Network netip.Prefix `json:"network"`
	// "the route 10.1.0.0/16 dev eth1", "the address 10.1.1.9 dev eth1", "the DNS server 10.1.1.53"
	Entry string `json:"entry"`
	// More are the other networks that overlap something, each once.
	More []OverlapError `json:"more,omitempty"`
}

func (e *OverlapError) Error() string { return fmt.Sprintf("%s overlaps %s", e.Network, e.Entry) }

// Unwrap returns ErrOverlap.
func (e *OverlapError) Unwrap() error { return ErrOverlap }

// Overlap refuses networks of which one overlaps a route or an address of this machine, or contains
// the gateway of a route or one of its DNS servers, with an *OverlapError that names all those.
// Default routes are no obstacle, nor is what is on the tunnel's own device. A route to one half of
// all addresses is a default route: VPNs have two such in the place of one, and would lose no more
// by the tunnel than they take over themselves. A table that no rule leads such packets to is no
// obstacle either. It reads all routes, one at a time.
func (v View) Overlap(resolvers []netip.Addr, networks ...netip.Prefix) error {
	why := make([]string, len(networks)) // by network; "" if nothing overlaps it
	if err := v.overlapRoutes(networks, why); err != nil {
		return err
	}
	addrs, err := v.Look.Addrs(0)
	if err != nil {
		return fmt.Errorf("look for addresses that overlap %v: %w", networks, err)
	}
	var all []OverlapError
	for i, network := range networks {
		for _, a := range addrs {
			if why[i] == "" && a.Index != v.Own && (network.Contains(a.Local) ||
				a.Peer.IsValid() && network.Contains(a.Peer)) {
				why[i] = fmt.Sprintf("the address %s dev %s", a.Local, v.Name(a.Index))
			}
		}
		if resolver, found := FindResolver(network, resolvers); found && why[i] == "" {
			why[i] = fmt.Sprintf("this machine's DNS server %s", resolver)
		}
		if why[i] != "" {
			all = append(all, OverlapError{Network: network, Entry: why[i]})
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &OverlapError{Network: all[0].Network, Entry: all[0].Entry, More: all[1:]}
}

// FindResolver returns the first of this machine's DNS servers that lies in a network, and reports
// whether there is one: the tunnel would get the questions that are meant for it.
func FindResolver(network netip.Prefix, resolvers []netip.Addr) (first netip.Addr, found bool) {
	at := slices.IndexFunc(resolvers, network.Contains)
	if at < 0 {
		return netip.Addr{}, false
	}
	return resolvers[at], true
}

// overlapRoutes puts the route, or the gateway of one, that overlaps each network into why. A route
// goes before a gateway.
func (v View) overlapRoutes(networks []netip.Prefix, why []string) error {
	tables := reach{look: v.Look}
	by := make([]string, len(networks))
	err := v.Look.Routes(0, 0, func(r rtnl.Route) bool {
		// What the kernel itself puts into the local table repeats the addresses, which come later
		// under their own name.
		repeats := r.Table == unix.RT_TABLE_LOCAL && r.Protocol == unix.RTPROT_KERNEL
		obstacle := !repeats && r.Dst.Bits() > 1 && !leavesBy(r, v.Own)
		for i, network := range networks {
			if obstacle && why[i] == "" && r.Dst.Overlaps(network) && !fallback(r, network) &&
				tables.table(r.Table, network) {
				why[i] = "the " + v.describe(r)
			}
			for _, hop := range r.Hops { // the gateway of an "onlink" route may lie in no other
				if by[i] == "" && hop.Index != v.Own && network.Contains(hop.Via) &&
					tables.table(r.Table, netip.Prefix{}) {
					by[i] = fmt.Sprintf("the gateway %s of the %s", hop.Via, v.describe(r))
				}
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("look for routes that overlap %v: %w", networks, err)
	}
	for i := range why {
		why[i] = cmp.Or(why[i], by[i])
	}
	return nil
}

// fallback reports whether a route rejects packets ("unreachable 10.0.0.0/8", also blackhole,
// prohibit and throw), and the route to network goes before it: administrators put such routes
// below their networks. A throw of another table only sends the search on to the main one
// (ip-route(8)).
func fallback(route rtnl.Route, network netip.Prefix) bool {
	switch route.Type {
	case unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
	default:
		return false
	}
	if route.Table != unix.RT_TABLE_MAIN {
		return route.Type == unix.RTN_THROW
	}
	return route.Dst.Bits() < network.Bits() || route.Dst == network && route.Metric > 0
}

// describe writes a route as ip does, without its attributes, but for the table where it is not one
// of the kernel's own.
func (v View) describe(route rtnl.Route) string {
	text := "route "
	if route.Type != unix.RTN_UNICAST {
		text += typeName(route.Type) + " "
	}
	text += route.Dst.String()
	for _, hop := range route.Hops {
		if hop.Via.IsValid() {
			text += " via " + hop.Via.String()
		}
		text += " dev " + v.Name(hop.Index)
	}
	if route.Table != unix.RT_TABLE_MAIN && route.Table != unix.RT_TABLE_LOCAL {
		text += fmt.Sprintf(" table %d", route.Table)
	}
	return text
}
