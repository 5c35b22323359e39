package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// ErrOverlap says that a network is in use on this machine already.
var ErrOverlap = errors.New("overlaps")

// OverlapError is an ErrOverlap with what is in the way.
type OverlapError struct {
	Network netip.Prefix
	Entry   string // "the route 10.1.0.0/16 dev eth1", "the address 10.1.1.9 dev eth1", "the DNS server 10.1.1.53"
}

func (e *OverlapError) Error() string { return fmt.Sprintf("%s overlaps %s", e.Network, e.Entry) }

// Unwrap returns ErrOverlap.
func (e *OverlapError) Unwrap() error { return ErrOverlap }

// Overlap refuses a private network that overlaps a route or an address of this machine, or contains the gateway of a route,
// or one of its Resolvers, with an *OverlapError. Default routes are no obstacle, nor is what is on the tunnel's own device.
// A route to one half of all addresses is a default route: VPNs have two such in the place of one, and would lose no more by
// the tunnel than they take over themselves. A table that no rule leads such packets to is no obstacle either. It reads all
// routes, one at a time.
func (r *Router) Overlap(_ context.Context, network netip.Prefix) error {
	if !network.IsValid() || !network.Addr().Is4() {
		return fmt.Errorf("%s is not an IPv4 network", network)
	}
	network = network.Masked()
	if r.look == nil {
		return nil
	}
	r.mu.Lock()
	own := r.index()
	r.mu.Unlock()
	tables := reach{look: r.look}
	var in *rtnl.Route   // the way
	var by *rtnl.Route   // of gateway
	var gateway rtnl.Hop // in network: that of an "onlink" route may lie in no other
	err := r.look.Routes(0, 0, func(route rtnl.Route) bool {
		// What the kernel itself puts into the local table repeats the addresses, which come below under their own name.
		repeats := route.Table == unix.RT_TABLE_LOCAL && route.Protocol == unix.RTPROT_KERNEL
		if !repeats && route.Dst.Bits() > 1 && route.Dst.Overlaps(network) && !leavesBy(route, own) &&
			!fallback(route, network) && tables.table(route.Table, network) {
			in = &route
			return false
		}
		for _, hop := range route.Hops {
			if by == nil && hop.Index != own && network.Contains(hop.Via) && tables.table(route.Table, netip.Prefix{}) {
				by, gateway = &route, hop
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("look for routes that overlap %s: %w", network, err)
	}
	switch {
	case in != nil:
		return &OverlapError{Network: network, Entry: "the " + r.describe(*in)}
	case by != nil:
		return &OverlapError{Network: network, Entry: fmt.Sprintf("the gateway %s of the %s", gateway.Via, r.describe(*by))}
	}
	addrs, err := r.look.Addrs(0)
	if err != nil {
		return fmt.Errorf("look for addresses that overlap %s: %w", network, err)
	}
	for _, addr := range addrs {
		if addr.Index != own && (network.Contains(addr.Local) || addr.Peer.IsValid() && network.Contains(addr.Peer)) {
			return &OverlapError{Network: network, Entry: fmt.Sprintf("the address %s dev %s", addr.Local, r.name(addr.Index))}
		}
	}
	return r.overlapResolvers(network)
}

// overlapResolvers refuses a network that contains one of Resolvers.
func (r *Router) overlapResolvers(network netip.Prefix) error {
	if r.Resolvers == nil {
		return nil
	}
	all, err := r.Resolvers()
	if err != nil {
		return fmt.Errorf("look for DNS servers in %s: %w", network, err)
	}
	for _, resolver := range all {
		if network.Contains(resolver) {
			return &OverlapError{Network: network, Entry: fmt.Sprintf("this machine's DNS server %s", resolver)}
		}
	}
	return nil
}

// fallback reports whether a route rejects packets ("unreachable 10.0.0.0/8", also blackhole, prohibit and throw), and the
// route to network goes before it: administrators put such routes below their networks. A throw of another table only sends
// the search on to the main one (ip-route(8)).
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

// describe writes a route as ip does, without its attributes, but for the table where it is not one of the kernel's own.
func (r *Router) describe(route rtnl.Route) string {
	text := "route "
	if route.Type != unix.RTN_UNICAST {
		text += typeName(route.Type) + " "
	}
	text += route.Dst.String()
	for _, hop := range route.Hops {
		if hop.Via.IsValid() {
			text += " via " + hop.Via.String()
		}
		text += " dev " + r.name(hop.Index)
	}
	if route.Table != unix.RT_TABLE_MAIN && route.Table != unix.RT_TABLE_LOCAL {
		text += fmt.Sprintf(" table %d", route.Table)
	}
	return text
}

// name returns the name of an interface for a person.
func (r *Router) name(index int) string {
	link, err := r.look.LinkByIndex(index)
	if err != nil || link.Name == "" {
		return fmt.Sprintf("if%d", index)
	}
	return link.Name
}
