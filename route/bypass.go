package route

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"tunnel/ipcmd"
)

// ErrNoRoute says that this machine has no way to the server.
var ErrNoRoute = errors.New("no route")

// Bypass keeps the way to the server outside the tunnel: when server is reached through a gateway, it routes that one
// address through that gateway and card. Call it before each attempt to connect: when the way is no longer that of an
// earlier Bypass it replaces its own route, and when it is the same it changes nothing.
//
// It adds nothing for a server that is this machine or on a link of it, for an IPv6 server, since the tunnel routes
// IPv4 only, and when a host route to server exists that it did not add, which it never touches. Without any way to
// the server the error is an ErrNoRoute.
func (r *Router) Bypass(ctx context.Context, server netip.Addr) error {
	server = server.Unmap()
	if !server.Is4() || server.IsLoopback() || server.IsUnspecified() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("find the way to %s: %w", server, os.ErrClosed)
	}
	good, err := r.checkOwn(ctx, server)
	if err != nil || good {
		return err
	}
	hop, err := r.wayTo(ctx, server)
	if errors.Is(err, ipcmd.ErrNoLookup) {
		r.log.WarnContext(ctx, "the way to the server is not known here", "server", server, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the way to %s: %w", server, err)
	}
	if !hop.Via.IsValid() {
		return nil
	}
	host := netip.PrefixFrom(server, server.BitLen())
	others, err := routes(ctx, r.run, ipcmd.RouteShowExact(host))
	if err != nil {
		return fmt.Errorf("look for a host route to %s: %w", server, err)
	}
	if len(others) > 0 {
		r.log.DebugContext(ctx, "host route to the server exists", "server", server)
		return nil
	}
	err = r.add(ctx, entry{Kind: kindBypass, Dev: hop.Dev, Prefix: host, Via: hop.Via})
	if errors.Is(err, fs.ErrExist) { // somebody was faster than we; it is theirs
		return nil
	}
	return err
}

// Retain removes the bypasses of all servers but those given: the ones that are tried or in use.
func (r *Router) Retain(ctx context.Context, servers ...netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range slices.Backward(slices.Clone(r.added)) {
		inUse := slices.ContainsFunc(servers, func(s netip.Addr) bool { return s.Unmap() == e.Prefix.Addr() })
		if e.Kind != kindBypass || inUse {
			continue
		}
		if err := r.remove(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn looks at the bypass to server that this Router added earlier, if any. It reports whether it still is the way
// that packets would take without it; otherwise it removes it. The caller holds mu.
func (r *Router) checkOwn(ctx context.Context, server netip.Addr) (bool, error) {
	at := slices.IndexFunc(r.added, func(e entry) bool { return e.Kind == kindBypass && e.Prefix.Addr() == server })
	if at < 0 {
		return false, nil
	}
	own := r.added[at]
	// The look-up `route get` would answer with our own route. The table without it is only the first thing that the
	// kernel consults, rules may come before; but if they do, the worst is that the same bypass is made anew.
	matching, err := routes(ctx, r.run, ipcmd.RouteShowMatch(server))
	if errors.Is(err, ipcmd.ErrNoLookup) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	if !slices.ContainsFunc(matching, own.is) { // for example because its card was down for a moment
		return false, r.forget(own)
	}
	if isWay(matching, own, r.device()) {
		return true, nil
	}
	return false, r.remove(ctx, own)
}

// isWay reports whether the bypass own is the way that packets would take without it and without the device tunnel, given
// the routes that contain its host.
func isWay(matching []ipcmd.Route, own entry, tunnel string) bool {
	return slices.ContainsFunc(bestHops(matching, own, tunnel), func(h ipcmd.Hop) bool {
		return h.Via == own.Via && h.Dev == own.Dev
	})
}

// get asks the kernel for the way to server. The caller holds mu.
func (r *Router) get(ctx context.Context, server netip.Addr) (ipcmd.Way, error) {
	out, err := r.run.Run(ctx, ipcmd.RouteGet(server))
	if err != nil {
		var failed *ipcmd.Error
		// ip exits with 2 when the kernel refuses, and the kernel refuses this question for want of a route only.
		if errors.As(err, &failed) && failed.ExitCode == 2 {
			return ipcmd.Way{}, fmt.Errorf("%w to %s: %s", ErrNoRoute, server, failed.Stderr)
		}
		return ipcmd.Way{}, err
	}
	return ipcmd.ParseRouteGet(out)
}

// wayTo returns the next hop towards server outside the tunnel; its Via is not valid when server is this machine or on
// a link. The caller holds mu.
func (r *Router) wayTo(ctx context.Context, server netip.Addr) (ipcmd.Hop, error) {
	way, err := r.get(ctx, server)
	if err != nil {
		return ipcmd.Hop{}, err
	}
	switch {
	case way.Type == ipcmd.Local:
		return ipcmd.Hop{}, nil
	case way.Type != ipcmd.Unicast:
		return ipcmd.Hop{}, fmt.Errorf("%w to %s: it is a %s address", ErrNoRoute, server, way.Type)
	case way.Dev != r.device():
		return ipcmd.Hop{Via: way.Gateway, Dev: way.Dev}, nil
	}
	// The tunnel's own device attracts the server: what counts is the way beside it.
	matching, err := routes(ctx, r.run, ipcmd.RouteShowMatch(server))
	if err != nil {
		return ipcmd.Hop{}, err
	}
	for _, hop := range bestHops(matching, entry{}, r.device()) {
		if hop.Via.IsValid() {
			return hop, nil
		}
	}
	return ipcmd.Hop{}, fmt.Errorf("%w to %s but through the tunnel itself (%s)", ErrNoRoute, server, way.Dev)
}

// bestHops returns the next hops of the route that the kernel would choose among those that contain one destination, if
// the entry own and everything on the device tunnel did not exist: none if there is no way.
func bestHops(matching []ipcmd.Route, own entry, tunnel string) []ipcmd.Hop {
	var best ipcmd.Route
	for _, route := range matching {
		hops := slices.DeleteFunc(slices.Clone(route.Hops), func(h ipcmd.Hop) bool {
			return h.Dead || h.Dev == tunnel
		})
		if own.is(route) || route.Type == "throw" || route.Type == ipcmd.Unicast && len(hops) == 0 {
			continue
		}
		longer := route.Dst.Bits() - best.Dst.Bits()
		if best.Type == "" || longer > 0 || longer == 0 && route.Metric < best.Metric {
			best = route
			best.Hops = hops
		}
	}
	return best.Hops
}
