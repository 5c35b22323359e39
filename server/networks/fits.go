package networks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tunnel/auth"
)

// Fits returns an error if the private network does not have the address of a token, or overlaps
// with its networks.
func (n *Networks) Fits(t auth.Token) error {
	if t.Address.IsValid() {
		if err := n.Leases.Fits(t.Address); err != nil {
			return err
		}
	}
	own := n.Leases.Network()
	if i := slices.IndexFunc(t.Routes, own.Overlaps); i >= 0 {
		return fmt.Errorf("route %s overlaps with the network %s", t.Routes[i], own)
	}
	if i := slices.IndexFunc(t.PushRoutes, own.Overlaps); i >= 0 {
		return fmt.Errorf("%s, which is to be pushed, overlaps with the network %s",
			t.PushRoutes[i], own)
	}
	return nil
}

// overlapTimeout bounds the question whether this machine uses a network.
const overlapTimeout = 5 * time.Second

// FitsMachine is Fits for a token that is to be made or changed, whose client's networks must not
// be in use on this machine either.
func (n *Networks) FitsMachine(spec auth.Spec) error {
	if err := n.Fits(auth.Token{Address: spec.Address, Routes: spec.Routes,
		PushRoutes: spec.PushRoutes}); err != nil {
		return err
	}
	if err := n.takesPushed(spec.Routes); err != nil {
		return err
	}
	n.telling.Lock()
	site := n.Site
	n.telling.Unlock()
	if _, _, err := site.resolvers(spec.DNS, spec.Domains); err != nil || n.Overlap == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), overlapTimeout)
	defer cancel()
	for _, r := range spec.Routes {
		if !r.Addr().Is4() {
			continue
		}
		if err := n.Overlap(ctx, r); err != nil {
			return fmt.Errorf("route %s cannot lie behind a client: %w", r, err)
		}
	}
	return nil
}

// takesPushed returns an error if a route contains a longer network that is pushed and lies behind
// no client yet: packets for it would go to the route's client from then on.
func (n *Networks) takesPushed(routes []netip.Prefix) error {
	n.telling.Lock()
	defer n.telling.Unlock()
	c := n.scene()
	pushed := c.machine().Pushed
	for _, r := range routes {
		for _, p := range pushed {
			if r.Bits() >= p.Bits() || !r.Contains(p.Addr()) {
				continue
			}
			if _, behind := c.owner(p); !behind {
				return fmt.Errorf("route %s contains %s, which is pushed to clients as a network "+
					"behind this machine: choose routes without it, or stop pushing it first", r, p)
			}
		}
	}
	return nil
}
