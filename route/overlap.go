package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"tunnel/ipcmd"
)

// ErrOverlap says that a network is in use on this machine already.
var ErrOverlap = errors.New("overlaps")

// OverlapError is an ErrOverlap with what is in the way.
type OverlapError struct {
	Network netip.Prefix
	Entry   string // "the route 10.1.0.0/16 dev eth1" or "the address 10.1.1.9 dev eth1"
}

func (e *OverlapError) Error() string { return fmt.Sprintf("%s overlaps %s", e.Network, e.Entry) }

// Unwrap returns ErrOverlap.
func (e *OverlapError) Unwrap() error { return ErrOverlap }

// Overlap refuses a private network that overlaps a route or an address of this machine, or contains the gateway of a route,
// with an *OverlapError. Default routes, also in their form of two halves, are no obstacle, nor is what is on the tunnel's
// own device.
func (r *Router) Overlap(ctx context.Context, network netip.Prefix) error {
	if !network.IsValid() || !network.Addr().Is4() {
		return fmt.Errorf("%s is not an IPv4 network", network)
	}
	network = network.Masked()
	r.mu.Lock()
	own := r.device()
	r.mu.Unlock()
	routes, err := routes(ctx, r.run, ipcmd.RouteShowAll())
	if errors.Is(err, ipcmd.ErrNoLookup) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for routes that overlap %s: %w", network, err)
	}
	for _, route := range routes {
		// The local table repeats the addresses, which come below under their own name.
		if route.Table == "local" || route.Dst.Bits() <= 1 || !route.Dst.Overlaps(network) || only(route, own) {
			continue
		}
		return &OverlapError{Network: network, Entry: "the " + describe(route)}
	}
	for _, route := range routes { // the gateway of an "onlink" route may lie in no other
		for _, hop := range route.Hops {
			if hop.Dev != own && network.Contains(hop.Via) {
				return &OverlapError{Network: network, Entry: fmt.Sprintf("the gateway %s of the %s", hop.Via, describe(route))}
			}
		}
	}
	addrs, err := addrs(ctx, r.run)
	if err != nil {
		return fmt.Errorf("look for addresses that overlap %s: %w", network, err)
	}
	for _, addr := range addrs {
		if addr.Dev != own && (network.Contains(addr.Local) || addr.Peer.IsValid() && network.Contains(addr.Peer)) {
			return &OverlapError{Network: network, Entry: fmt.Sprintf("the address %s dev %s", addr.Local, addr.Dev)}
		}
	}
	return nil
}

// only reports whether all next hops of a route are on dev.
func only(route ipcmd.Route, dev string) bool {
	for _, hop := range route.Hops {
		if hop.Dev != dev {
			return false
		}
	}
	return len(route.Hops) > 0
}

// describe writes a route as ip does, without its attributes.
func describe(route ipcmd.Route) string {
	text := "route "
	if route.Type != ipcmd.Unicast {
		text += route.Type + " "
	}
	text += route.Dst.String()
	for _, hop := range route.Hops {
		if hop.Via.IsValid() {
			text += " via " + hop.Via.String()
		}
		text += " dev " + hop.Dev
	}
	return text
}
