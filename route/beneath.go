package route

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/rtnl"
)

// Beneath returns the entry by which the kernel would decide about server without the host route to
// it. A neighbour's address is asked about instead: every other prefix that contains the one
// contains the other, but for those that distinguish the two, which the answer shows.
func (v View) Beneath(server netip.AddrPort) (rtnl.Route, error) {
	addr := server.Addr()
	for bit := range addr.BitLen() {
		found, err := v.Match(netip.AddrPortFrom(flip(addr, bit), server.Port()))
		if err != nil && bit == 0 || err == nil && found.Dst.Contains(addr) {
			if err == nil && leavesBy(found, v.Own) {
				return v.pastTunnel(addr)
			}
			return found, err
		}
	}
	return v.pastTunnel(addr)
}

// flip returns a with one bit of its address changed, counted from the last.
func flip(a netip.Addr, bit int) netip.Addr {
	raw := a.As4()
	raw[3-bit/8] ^= 1 << (bit % 8)
	return netip.AddrFrom4(raw)
}

// leavesBy reports whether all next hops of a route are on the interface of that index.
func leavesBy(route rtnl.Route, index int) bool {
	return len(route.Hops) > 0 && !slices.ContainsFunc(route.Hops,
		func(h rtnl.Hop) bool { return h.Index != index })
}

// pastTunnel returns the entry of the main table by which the kernel would decide about server if
// neither a host route to it nor anything on the tunnel's device existed.
func (v View) pastTunnel(server netip.Addr) (best rtnl.Route, err error) {
	err = v.Look.Routes(unix.RT_TABLE_MAIN, 0, func(route rtnl.Route) bool {
		if !route.Dst.Contains(server) || route.Dst.IsSingleIP() || route.Type == unix.RTN_THROW {
			return true
		}
		route.Hops = slices.DeleteFunc(route.Hops,
			func(h rtnl.Hop) bool { return h.Dead || h.Index == v.Own })
		if route.Type == unix.RTN_UNICAST && len(route.Hops) == 0 {
			return true
		}
		if isBetter(route, best) {
			best = route
		}
		return true
	})
	if err == nil && best.Type != unix.RTN_UNICAST {
		err = fmt.Errorf("%w to %s but through the tunnel itself (%s)", ErrNoRoute, server, v.Dev)
	}
	return best, err
}

// BypassTo returns the bypass that server needs, and reports whether it needs one; beneath is what
// the kernel goes by now. A server on a link of this machine, or with a host route of its own,
// needs none.
func (v View) BypassTo(server netip.AddrPort, beneath rtnl.Route) (b Bypass, needed bool,
	err error) {
	found, err := v.Resolve(v.flow(server))
	if err != nil {
		return b, false, err
	}
	if found.Type == unix.RTN_LOCAL || len(found.Hops) == 0 {
		return b, false, nil
	}
	hop := found.Hops[0]
	host := netip.PrefixFrom(server.Addr(), server.Addr().BitLen())
	switch {
	case hop.Index == v.Own:
		// the tunnel's own device attracts the server: what counts is the path beside it
		if beneath, err = v.pastTunnel(server.Addr()); err != nil {
			return b, false, err
		}
		hop = beneath.Hops[0]
	case beneath.Dst == host:
		return b, false, nil
	}
	for _, known := range beneath.Hops { // which says more of the hop
		if known.Index == hop.Index && known.Via == hop.Via {
			hop = known
		}
	}
	if !hop.Via.IsValid() {
		return b, false, nil
	}
	link, err := v.Look.LinkByIndex(hop.Index)
	if err != nil || link.Index == 0 {
		return b, false, err // its event has another look
	}
	path, err := v.needed(beneath, hop)
	return Bypass{Dev: link.Name, Prefix: host, Via: hop.Via, Path: path}, err == nil, err
}

// Agrees reports whether packets that the kernel sends by beneath would go as by the bypass b, on
// the interface of that index: by the same gateway, with the same path.
func (v View) Agrees(beneath rtnl.Route, b Bypass, index int) (bool, error) {
	// net.ipv4.nexthop_compat_mode is 0: the object's members are not shown
	if len(beneath.Hops) == 0 && beneath.NextHop != 0 {
		return true, nil
	}
	for _, hop := range beneath.Hops {
		if hop.Dead || hop.Index != index || hop.Via != b.Via {
			continue
		}
		path, err := v.needed(beneath, hop)
		if err != nil || path == b.Path {
			return err == nil, err
		}
	}
	return false, nil
}

// pathOf returns what a route says of the path by one of its next hops.
func pathOf(route rtnl.Route, hop rtnl.Hop) ipcmd.Path {
	return ipcmd.Path{Onlink: hop.Onlink, Src: route.Src, Metrics: route.Path.Values,
		Congestion: route.Path.Congestion}
}

// needed returns what of pathOf can be set, without a source address that the kernel would choose
// anyway (inet_select_addr in net/ipv4/devinet.c), so that the documented command stays what it is.
func (v View) needed(route rtnl.Route, hop rtnl.Hop) (ipcmd.Path, error) {
	path := pathOf(route, hop).Settable()
	if !path.Src.IsValid() {
		return path, nil
	}
	addrs, err := v.Look.Addrs(hop.Index)
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
