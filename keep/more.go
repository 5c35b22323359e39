package keep

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/route"
)

// SetMore makes routes and names those that are maintained beside the Want, in place of earlier
// ones. A route that overlaps a network of this machine is left out, with a line in the log, until
// it no longer does, and so are DNS servers to which no route leads. Before Set, and while the Want
// is withdrawn, they are only noted. The errors are those of Check; NamesSet is told of names.
func (k *Keeper) SetMore(ctx context.Context, routes []host.Route, names dns.Config) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.more, k.names = slices.Clone(routes), names
	if k.want.IsZero() || k.withdrawn != nil {
		return nil
	}
	return k.apply(ctx, k.want, k.more, k.names)
}

// with returns w with more routes.
func with(w host.Want, more []host.Route) host.Want {
	w.Routes = slices.Concat(w.Routes, more)
	return w
}

// apply applies w, with those routes of more that overlap nothing, and names. The error is a
// route.ErrOverlap if w itself overlaps, and nothing was changed. For other errors of Overlap see
// hold. The caller holds mu.
func (k *Keeper) apply(ctx context.Context, w host.Want, more []host.Route,
	names dns.Config) error {
	if len(w.Routes) == 0 { // a kill switch before the first session
		k.leads(nil)
		return k.router.Apply(ctx, w)
	}
	left := map[netip.Prefix]error{}
	err := k.router.Overlap(ctx, with(w, more).Networks()...)
	var overlap *route.OverlapError
	if errors.As(err, &overlap) && len(more) > 0 {
		more, err = free(more, overlap, left)
	}
	if errors.Is(err, route.ErrOverlap) {
		return err
	}
	if err != nil {
		return k.hold(ctx, w, more, names, err)
	}
	k.report(ctx, w.Dev, more, left)
	k.leads(host.Want{Routes: more}.Networks())
	return k.applyAll(ctx, with(w, more), names)
}

// free returns those routes that overlap nothing, and puts why the others do into left. If anything
// else overlaps, that is the error.
func free(routes []host.Route, overlap *route.OverlapError,
	left map[netip.Prefix]error) (rest []host.Route, err error) {
	for _, o := range append([]route.OverlapError{*overlap}, overlap.More...) {
		left[o.Network] = &route.OverlapError{Network: o.Network, Entry: o.Entry}
	}
	found := 0
	for _, r := range routes {
		if left[r.Prefix] == nil {
			rest = append(rest, r)
		} else {
			found++
		}
	}
	if found < len(left) {
		return nil, overlap
	}
	return rest, nil
}

// leads has RoutesSet called if networks are others than before. The caller holds mu.
func (k *Keeper) leads(networks []netip.Prefix) {
	if k.RoutesSet != nil && !slices.Equal(networks, k.led) {
		k.RoutesSet(networks)
	}
	k.led = networks
}

// report logs which networks are left out now, and which of the routes no longer are. The caller
// holds mu.
func (k *Keeper) report(ctx context.Context, dev string, routes []host.Route,
	left map[netip.Prefix]error) {
	for _, prefix := range slices.SortedFunc(maps.Keys(left), netip.Prefix.Compare) {
		if k.left[prefix] == nil {
			k.log.WarnContext(ctx, "a network is not routed into the tunnel: this machine has it "+
				"elsewhere", "dev", dev, "network", prefix, "why", left[prefix])
		}
	}
	for _, r := range routes {
		if k.left[r.Prefix] != nil {
			k.log.InfoContext(ctx, "a network is routed into the tunnel again", "dev", dev,
				"network", r.Prefix)
		}
	}
	k.left = left
}
