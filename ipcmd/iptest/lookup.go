package iptest

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// LinkByName answers as rtnl.Kernel does, as the methods that follow.
func (k *Kernel) LinkByName(name string) (rtnl.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.link(name), nil
}

// LinkByIndex is one of these methods.
func (k *Kernel) LinkByIndex(index int) (rtnl.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.link(k.name(index)), nil
}

// Addrs is one of these methods.
func (k *Kernel) Addrs(index int) ([]rtnl.Addr, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(k.addrs),
		func(a rtnl.Addr) bool { return index != 0 && a.Index != index }), nil
}

// Routes is one of these methods: the local table has the addresses, and all else is in the main
// one.
func (k *Kernel) Routes(table, index int, visit func(rtnl.Route) bool) error {
	k.mu.Lock()
	all := slices.Clone(k.routes)
	if table == unix.RT_TABLE_LOCAL {
		all = nil
		for _, a := range k.addrs {
			all = append(all, rtnl.Route{
				Dst: netip.PrefixFrom(a.Local, a.Local.BitLen()), Type: unix.RTN_LOCAL,
				Table:    unix.RT_TABLE_LOCAL,
				Protocol: unix.RTPROT_KERNEL, Hops: []rtnl.Hop{{Index: a.Index}},
			})
		}
	}
	k.mu.Unlock()
	for _, r := range all {
		if index != 0 && r.Hops[0].Index != index {
			continue
		}
		r.Hops = slices.Clone(r.Hops)
		if !visit(r) {
			break
		}
	}
	return nil
}

// Rules is one of these methods: there are none.
func (k *Kernel) Rules() ([]rtnl.Rule, error) { return nil, nil }

// Networks6 is one of these methods, as the next: there is no IPv6.
func (k *Kernel) Networks6() ([]rtnl.Addr, error) { return nil, nil }

// Routes6 is one of these methods.
func (k *Kernel) Routes6(int, func(rtnl.Route) bool) error { return nil }

// Resolve is one of these methods.
func (k *Kernel) Resolve(flow rtnl.Flow) (rtnl.Route, error) {
	found, err := k.Match(flow)
	found.Dst = netip.PrefixFrom(flow.To, flow.To.BitLen())
	return found, err
}

// Match is one of these methods: the longest prefix that contains the address.
func (k *Kernel) Match(flow rtnl.Flow) (rtnl.Route, error) {
	addr := flow.To
	k.mu.Lock()
	defer k.mu.Unlock()
	if addr.IsLoopback() || slices.ContainsFunc(k.addrs,
		func(a rtnl.Addr) bool { return a.Local == addr }) {
		return rtnl.Route{
			Dst: netip.PrefixFrom(addr, addr.BitLen()), Type: unix.RTN_LOCAL,
			Table: unix.RT_TABLE_LOCAL,
			Hops:  []rtnl.Hop{{Index: k.link("lo").Index}},
		}, nil
	}
	var best rtnl.Route
	for _, r := range k.routes {
		if r.Dst.Contains(addr) && (best.Type == unix.RTN_UNSPEC ||
			r.Dst.Bits() > best.Dst.Bits()) {
			best = r
		}
	}
	if best.Type == unix.RTN_UNSPEC {
		return best, unix.ENETUNREACH
	}
	best.Hops = slices.Clone(best.Hops)
	return best, nil
}
