package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"tunnel/cmdrun"
	"tunnel/route"
	"tunnel/rtnl"
)

// Bypass keeps the path to the server outside the tunnel: if the kernel sends packets to server
// through a gateway, it adds a host route through the same gateway and interface, with the metrics
// of the kernel's own route. Call it before each attempt to connect, and when the network has
// changed: it replaces its route if the kernel would decide otherwise without it.
//
// It adds nothing if server is this machine or on one of its links, if it is an IPv6 address (the
// tunnel routes IPv4 only), if a rule decides before the main table, or if a host route to server
// exists that it did not add, which it never changes. It adds none for a full tunnel where the mark
// of the connection does. A bypass that the kernel refuses is logged as a warning, once: most
// connections work without one. If there is no path to the server the error is a route.ErrNoRoute.
func (h *Host) Bypass(ctx context.Context, server netip.AddrPort) error {
	err := h.bypass(ctx, server)
	if h.dry && errors.Is(err, route.ErrNoRoute) { // there may be one outside the dry run
		h.log.WarnContext(ctx, "the path to the server is not known here", "server", server.Addr(),
			"err", err)
		return nil
	}
	return err
}

func (h *Host) bypass(ctx context.Context, to netip.AddrPort) error {
	server := to.Addr().Unmap()
	to = netip.AddrPortFrom(server, to.Port())
	if !server.Is4() || server.IsLoopback() || server.IsUnspecified() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("find the path to %s: %w", server, os.ErrClosed)
	}
	if h.machine.Look == nil {
		h.log.WarnContext(ctx, "the path to the server is not known here", "server", server)
		return nil
	}
	good, err := h.checkOwn(ctx, to)
	if err != nil || good {
		return err
	}
	beneath, err := h.view().Match(to)
	if err != nil {
		return fmt.Errorf("find the path to %s: %w", server, err)
	}
	if known, ok := h.beside[server]; ok && known.Equal(beneath) {
		return nil
	}
	delete(h.beside, server)
	want, needed, err := h.view().BypassTo(to, beneath)
	if err != nil {
		return fmt.Errorf("find the path to %s: %w", server, err)
	}
	if !needed || h.marksSuffice(beneath) {
		return nil
	}
	return h.addBypass(ctx, want, beneath, to)
}

// marksSuffice reports whether the mark of the connection to a server keeps it outside a full
// tunnel without a route of its own, which other programs' packets would take, too; r is what the
// kernel goes by now. A route of the tunnel in the main table is not passed by the mark. The caller
// holds mu.
func (h *Host) marksSuffice(r rtnl.Route) bool {
	own := h.view().Own
	if !h.Full || !h.Marked || slices.ContainsFunc(r.Hops,
		func(hop rtnl.Hop) bool { return own != 0 && hop.Index == own }) {
		return false
	}
	ruled, err := h.ruled()
	return ruled && err == nil
}

// addBypass adds a bypass, and removes it if the kernel does not use it, because a rule decides
// before the main table. The caller holds mu.
func (h *Host) addBypass(ctx context.Context, b route.Bypass, beneath rtnl.Route,
	to netip.AddrPort) error {
	server := b.Prefix.Addr()
	err := h.make(ctx, b)
	switch {
	case err == nil && h.dry:
		return nil
	case err == nil:
	case errors.Is(err, fs.ErrExist): // the route is another program's
		return nil
	case ctx.Err() != nil, cmdrun.IsMissing(err), slices.Contains(h.made, fact(b)):
		return err
	default:
		h.log.WarnContext(ctx,
			"no bypass: the path to the server is this machine's, also if it leads into the tunnel",
			"server", server, "err", err)
		h.beside[server] = beneath
		return nil
	}
	now, err := h.view().Match(to)
	link, failed := h.machine.Look.LinkByName(b.Dev)
	if err != nil || failed != nil || b.Is(now, link.Index) || !now.Equal(beneath) {
		return nil //nolint:nilerr // the bypass is made; later changes are checked by the next call
	}
	h.log.InfoContext(ctx, "no bypass is needed: rules choose the path to the server (ip rule)",
		"server", server, "table", now.Table)
	h.beside[server] = now
	return h.remove(ctx, b)
}

// Retain removes the bypasses of all servers but the given ones, which are tried or in use.
func (h *Host) Retain(ctx context.Context, servers ...netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	inUse := func(a netip.Addr) bool {
		return slices.ContainsFunc(servers, func(s netip.Addr) bool { return s.Unmap() == a })
	}
	for server := range h.beside {
		if !inUse(server) {
			delete(h.beside, server)
		}
	}
	return h.removeAll(ctx, func(f fact) bool {
		b, isBypass := f.(route.Bypass)
		return isBypass && !inUse(b.Prefix.Addr())
	})
}

// checkOwn checks the bypass to server that this Host made earlier, if any. It reports whether the
// kernel uses it and would choose the same path without it; otherwise it removes it. The caller
// holds mu.
func (h *Host) checkOwn(ctx context.Context, to netip.AddrPort) (bool, error) {
	server := to.Addr()
	var own route.Bypass
	for _, f := range h.made {
		if b, isBypass := f.(route.Bypass); isBypass && b.Prefix.Addr() == server {
			own = b
		}
	}
	if own == (route.Bypass{}) {
		return false, nil
	}
	link, err := h.machine.Look.LinkByName(own.Dev)
	if err != nil {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	now, err := h.view().Match(to)
	if err != nil && !errors.Is(err, route.ErrNoRoute) {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	if err != nil || !own.Is(now, link.Index) {
		// It no longer exists, for example because its interface was down, or rules decide before
		// it.
		return false, h.remove(ctx, own)
	}
	beneath, err := h.view().Beneath(to)
	if err != nil && !errors.Is(err, route.ErrNoRoute) {
		return false, fmt.Errorf("check the bypass to %s: %w", server, err)
	}
	if err == nil {
		agrees, failed := h.view().Agrees(beneath, own, link.Index)
		if agrees || failed != nil {
			return agrees, failed
		}
	}
	return false, h.remove(ctx, own)
}
