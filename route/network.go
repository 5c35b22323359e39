package route

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Network is the fact that packets to a network take the tunnel's device. It is what ipcmd.RouteAdd
// adds.
type Network struct {
	Own

	Prefix netip.Prefix `json:"prefix"`
	Via    netip.Addr   `json:"via"` // the peer of the device's address, in Prefix
}

// Kind implements journal.Fact.
func (n Network) Kind() string { return "route" }

func (n Network) String() string {
	return fmt.Sprintf("route %s via %s dev %s", n.Prefix, n.Via, n.Dev)
}

// Check implements journal.Fact.
func (n Network) Check(r journal.Rules) error {
	if err := n.check(r, n); err != nil {
		return err
	}
	if n.Prefix != n.Prefix.Masked() || !n.Prefix.Contains(n.Via) {
		return fmt.Errorf("%w: %s is not a network of %s", journal.ErrFact, n.Prefix, n.Via)
	}
	return checkNetwork(r, n.Prefix)
}

// LeansOn reports whether the route is by the peer of f: without that address it has to be made
// anew.
func (n Network) LeansOn(f journal.Fact) bool {
	a, ok := f.(Address)
	return ok && a.Own == n.Own && a.Peer == n.Via
}

// Find implements journal.Fact.
func (n Network) Find(m journal.Machine) (bool, error) {
	link, err := n.find(m)
	if err != nil || link.Index == 0 {
		return false, err
	}
	routes, err := routesTo(m.Look, n.Prefix, link.Index)
	return slices.ContainsFunc(routes, n.is), err
}

// is reports whether r, a route of the device, is the one that n describes, exactly as this program
// adds it.
func (n Network) is(r rtnl.Route) bool { return isOurs(r, n.Prefix, n.Via, ipcmd.Path{}) }

// isOurs reports whether a route is exactly as this program adds them.
func isOurs(r rtnl.Route, prefix netip.Prefix, via netip.Addr, path ipcmd.Path) bool {
	return r.Dst == prefix && r.Type == unix.RTN_UNICAST && r.Table == unix.RT_TABLE_MAIN &&
		r.Protocol == unix.RTPROT_BOOT &&
		r.Metric == 0 && r.NextHop == 0 && !r.More && len(r.Hops) == 1 && r.Hops[0].Via == via &&
		pathOf(r, r.Hops[0]) == path
}

// Make adds the route. What else leads to the network by the device, such as the route as another
// program has changed it, would have the kernel refuse it, and goes first. A route with a metric of
// its own is in nobody's way.
func (n Network) Make(ctx context.Context, m journal.Machine) error {
	if n.canClear(m) {
		blocking, err := n.blocking(m)
		if err != nil {
			return err
		}
		for range blocking {
			// An error is that it has gone meanwhile, or the kernel says so of the addition.
			_, _ = m.Run.Run(ctx, ipcmd.ForeignRouteDel(n.Prefix, n.Dev))
		}
	}
	_, err := m.Run.Run(ctx, ipcmd.RouteAdd(n.Prefix, n.Via, n.Dev))
	return err
}

// blocking returns what stands in the route's place on the device.
func (n Network) blocking(m journal.Machine) ([]rtnl.Route, error) {
	routes, err := routesTo(m.Look, n.Prefix, n.Index)
	return slices.DeleteFunc(routes,
		func(have rtnl.Route) bool { return have.Metric != 0 || n.is(have) }), err
}

// Remove implements journal.Fact.
func (n Network) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.RouteDel(n.Prefix, n.Via, n.Dev))
	return err
}
