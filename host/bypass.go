package route

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
	"tunnel/rtnl"
)

// ErrNoRoute says that this machine has no way to the server.
var ErrNoRoute = errors.New("no route")

// Bypass keeps the path to the server outside the tunnel: when the kernel sends packets to server through a gateway, it
// routes that one address through the same gateway and interface, with what the route beneath says of the path. Call it
// before each attempt to connect, and when the network has changed: it replaces its own route when the kernel's decision
// without that is another, and when it is the same it changes nothing.
//
// It adds nothing for a server that is this machine or on a link of it, for an IPv6 server, since the tunnel routes IPv4
// only, where a rule decides before the main table, and when a host route to server exists that it did not add, which it
// never touches. A bypass that the kernel does not take is a warning, once: most connections work without one. Without
// any path to the server the error is an ErrNoRoute.
func (r *Router) Bypass(ctx context.Context, server netip.Addr) error {
	err := r.bypass(ctx, server)
	if r.dry && errors.Is(err, ErrNoRoute) { // there may be one when it counts
		r.log.WarnContext(ctx, "the way to the server is not known here", "server", server, "err", err)
		return nil
	}
	return err
}

func (r *Router) bypass(ctx context.Context, server netip.Addr) error {
	server = server.Unmap()
	if !server.Is4() || server.IsLoopback() || server.IsUnspecified() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("find the way to %s: %w", server, os.ErrClosed)
	}
	if r.look == nil {
		r.log.WarnContext(ctx, "the way to the server is not known here", "server", server)
		return nil
	}
	good, err := r.checkOwn(ctx, server)
	if err != nil || good {
		return err
	}
	beneath, err := r.match(server)
	if err != nil {
		return fmt.Errorf("find the way to %s: %w", server, err)
	}
	if known, ok := r.beside[server]; ok && known.Equal(beneath) {
		return nil
	}
	delete(r.beside, server)
	want, err := r.wantedBypass(ctx, server, beneath)
	if err != nil || want == (entry{}) {
		return err
	}
	return r.addBypass(ctx, want, beneath)
}

// addBypass adds a bypass, and takes it away again where the kernel does not go by it: a rule leads elsewhere before the
// main table is looked at. The caller holds mu.
func (r *Router) addBypass(ctx context.Context, e entry, beneath rtnl.Route) error {
	server := e.Prefix.Addr()
	err := r.add(ctx, e)
	switch {
	case err == nil && r.dry:
		return nil
	case err == nil:
	case errors.Is(err, fs.ErrExist): // somebody was faster than we; it is theirs
		return nil
	case ctx.Err() != nil, cmdrun.IsMissing(err), slices.Contains(r.added, e):
		return err
	default:
		r.log.WarnContext(ctx, "no bypass: the path to the server is this machine's, also if it leads into the tunnel",
			"server", server, "err", err)
		r.beside[server] = beneath
		return nil
	}
	now, err := r.match(server)
	link, failed := r.look.LinkByName(e.Dev)
	if err != nil || failed != nil || e.is(now, link.Index) || !now.Equal(beneath) {
		return nil //nolint:nilerr // it was taken; what changes meanwhile is looked at next time
	}
	r.log.InfoContext(ctx, "no bypass is needed: rules choose the path to the server (ip rule)", "server", server,
		"table", now.Table)
	r.beside[server] = now
	return r.remove(ctx, e)
}

// Retain removes the bypasses of all servers but those given: the ones that are tried or in use.
func (r *Router) Retain(ctx context.Context, servers ...netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	inUse := func(a netip.Addr) bool {
		return slices.ContainsFunc(servers, func(s netip.Addr) bool { return s.Unmap() == a })
	}
	for server := range r.beside {
		if !inUse(server) {
			delete(r.beside, server)
		}
	}
	for _, e := range slices.Backward(slices.Clone(r.added)) {
		if e.Kind != kindBypass || inUse(e.Prefix.Addr()) {
			continue
		}
		if err := r.remove(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// checkOwn looks at the bypass to server that this Router added earlier, if any. It reports whether the kernel goes by it
// and would go the same way without it; otherwise it removes it. The caller holds mu.
func (r *Router) checkOwn(ctx context.Context, server netip.Addr) (bool, error) {
	at := slices.IndexFunc(r.added, func(e entry) bool { return e.Kind == kindBypass && e.Prefix.Addr() == server })
	if at < 0 {
		return false, nil
	}
	own := r.added[at]
	link, err := r.look.LinkByName(own.Dev)
	if err != nil {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	now, err := r.match(server)
	if err != nil && !errors.Is(err, ErrNoRoute) {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	if err != nil || !own.is(now, link.Index) {
		// It is gone, for example because its interface was down for a moment, or rules lead past it.
		return false, r.remove(ctx, own)
	}
	beneath, err := r.beneath(server)
	if err != nil && !errors.Is(err, ErrNoRoute) {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	if err == nil {
		want, failed := r.same(beneath, own, link.Index)
		if want || failed != nil {
			return want, failed
		}
	}
	return false, r.remove(ctx, own)
}

// same reports whether one of the next hops of beneath is that of own, on the interface index, with the same path.
func (r *Router) same(beneath rtnl.Route, own entry, index int) (bool, error) {
	if len(beneath.Hops) == 0 && beneath.NextHop != 0 { // net.ipv4.nexthop_compat_mode is 0: the object's members are not shown
		return true, nil
	}
	for _, hop := range beneath.Hops {
		if hop.Dead || hop.Index != index || hop.Via != own.Via {
			continue
		}
		path, err := r.needed(beneath, hop)
		if err != nil || path == own.Path {
			return err == nil, err
		}
	}
	return false, nil
}

// beneath returns the entry by which the kernel would decide about server without the host route to it. A neighbour's
// address is asked about instead: every other prefix that contains the one contains the other, but for those that
// distinguish the two, which the answer shows. The caller holds mu.
func (r *Router) beneath(server netip.Addr) (rtnl.Route, error) {
	own := r.index()
	for bit := range server.BitLen() {
		found, err := r.match(flip(server, bit))
		if err != nil && bit == 0 || err == nil && found.Dst.Contains(server) {
			if err == nil && leavesBy(found, own) {
				return r.pastTunnel(server, own)
			}
			return found, err
		}
	}
	return r.pastTunnel(server, own)
}

// flip returns a with one bit of its address changed, counted from the last.
func flip(a netip.Addr, bit int) netip.Addr {
	raw := a.As4()
	raw[3-bit/8] ^= 1 << (bit % 8)
	return netip.AddrFrom4(raw)
}

// leavesBy reports whether all next hops of a route are on the interface of that index.
func leavesBy(route rtnl.Route, index int) bool {
	return len(route.Hops) > 0 && !slices.ContainsFunc(route.Hops, func(h rtnl.Hop) bool { return h.Index != index })
}

// pastTunnel returns the entry of the main table by which the kernel would decide about server if neither a host route to it
// nor anything on the tunnel's device existed. The caller holds mu.
func (r *Router) pastTunnel(server netip.Addr, own int) (best rtnl.Route, err error) {
	err = r.look.Routes(unix.RT_TABLE_MAIN, 0, func(route rtnl.Route) bool {
		if !route.Dst.Contains(server) || route.Dst.IsSingleIP() || route.Type == unix.RTN_THROW {
			return true
		}
		route.Hops = slices.DeleteFunc(route.Hops, func(h rtnl.Hop) bool { return h.Dead || h.Index == own })
		if route.Type == unix.RTN_UNICAST && len(route.Hops) == 0 {
			return true
		}
		longer := route.Dst.Bits() - best.Dst.Bits()
		if best.Type == unix.RTN_UNSPEC || longer > 0 || longer == 0 && route.Metric < best.Metric {
			best = route
		}
		return true
	})
	if err == nil && best.Type != unix.RTN_UNICAST {
		err = fmt.Errorf("%w to %s but through the tunnel itself (%s)", ErrNoRoute, server, r.device())
	}
	return best, err
}

// wantedBypass returns the bypass to server, a zero entry if it needs none: beneath is what the kernel goes by now. The
// caller holds mu.
func (r *Router) wantedBypass(ctx context.Context, server netip.Addr, beneath rtnl.Route) (entry, error) {
	way, err := r.resolve(server)
	if err != nil {
		return entry{}, fmt.Errorf("find the way to %s: %w", server, err)
	}
	if way.Type == unix.RTN_LOCAL || len(way.Hops) == 0 {
		return entry{}, nil
	}
	hop := way.Hops[0]
	host := netip.PrefixFrom(server, server.BitLen())
	switch {
	case hop.Index == r.index(): // the tunnel's own device attracts the server: what counts is the path beside it
		if beneath, err = r.pastTunnel(server, hop.Index); err != nil {
			return entry{}, fmt.Errorf("find the way to %s: %w", server, err)
		}
		hop = beneath.Hops[0]
	case beneath.Dst == host:
		r.log.DebugContext(ctx, "host route to the server exists", "server", server)
		return entry{}, nil
	}
	for _, known := range beneath.Hops { // which says more of the hop
		if known.Index == hop.Index && known.Via == hop.Via {
			hop = known
		}
	}
	if !hop.Via.IsValid() {
		return entry{}, nil
	}
	link, err := r.look.LinkByIndex(hop.Index)
	if err != nil || link.Index == 0 {
		return entry{}, err // its event has another look
	}
	path, err := r.needed(beneath, hop)
	return entry{Kind: kindBypass, Dev: link.Name, Prefix: host, Via: hop.Via, Path: path}, err
}

// pathOf returns what a route says of the path by one of its next hops.
func pathOf(route rtnl.Route, hop rtnl.Hop) ipcmd.Path {
	return ipcmd.Path{Onlink: hop.Onlink, Src: route.Src, Metrics: route.Path.Values, Congestion: route.Path.Congestion}
}

// needed is what of pathOf can be set, without a source address that the kernel would choose anyway (net/ipv4/devinet.c, inet_select_addr), so
// that the documented command stays what it is. The caller holds mu.
func (r *Router) needed(route rtnl.Route, hop rtnl.Hop) (ipcmd.Path, error) {
	path := pathOf(route, hop).Settable()
	if !path.Src.IsValid() {
		return path, nil
	}
	addrs, err := r.look.Addrs(hop.Index)
	if err != nil {
		return path, fmt.Errorf("look up the source address: %w", err)
	}
	var chosen netip.Addr
	for _, a := range addrs {
		if a.Secondary {
			continue
		}
		if !chosen.IsValid() {
			chosen = a.Local
		}
		of := a.Local
		if a.Peer.IsValid() {
			of = a.Peer
		}
		if netip.PrefixFrom(of, a.PrefixLen).Contains(hop.Via) {
			chosen = a.Local
			break
		}
	}
	if path.Src == chosen {
		path.Src = netip.Addr{}
	}
	return path, nil
}
