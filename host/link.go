package host

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/route"
	"tunnel/rtnl"
)

// link holds the settings of the device.
type link struct {
	dev       string
	mtu, qlen int
	index     int // 0 if not known
}

// indexOf returns the interface index of the device if setLink has seen it, else 0. The caller
// holds mu.
func (h *Host) indexOf(dev string) int {
	if h.link.dev != dev {
		return 0
	}
	return h.link.index
}

// setLink sets the device up unless it conforms to w, and returns the settings that were changed by
// others. The caller holds mu.
func (h *Host) setLink(ctx context.Context, w Want) (lost []string, err error) {
	given := link{dev: w.Dev, mtu: w.MTU, qlen: w.Qlen, index: h.link.index}
	if given == h.link {
		if h.dry || h.machine.Look == nil {
			return nil, nil
		}
		now, err := h.own()
		if err != nil {
			return nil, err
		}
		if lost = differences(now, w); len(lost) == 0 {
			return nil, nil
		}
		if err := h.contest(lost); err != nil {
			return nil, err
		}
	}
	if _, err := h.machine.Run.Run(ctx, ipcmd.LinkUp(w.Dev, w.MTU, w.Qlen)); err != nil {
		return nil, fmt.Errorf("set %s up: %w", w.Dev, err)
	}
	if h.link.dev != w.Dev || h.link.index == 0 {
		given.index = 0
		if h.machine.Look != nil {
			now, err := h.machine.Look.LinkByName(w.Dev)
			if err != nil {
				return nil, err
			}
			given.index = now.Index
		}
	}
	h.link = given
	return lost, nil
}

// own returns the device that setLink set up, or an ErrGone if it no longer exists. The caller
// holds mu.
func (h *Host) own() (rtnl.Link, error) {
	now, err := h.machine.Look.LinkByIndex(h.link.index)
	switch {
	case err != nil:
		return now, err
	case now.Index == 0:
		return now, fmt.Errorf("%w: %s", ErrGone, h.link.dev)
	case now.Name != h.link.dev:
		return now, fmt.Errorf("%w: %s is called %s now", ErrGone, h.link.dev, now.Name)
	}
	return now, nil
}

// differences returns the settings of a link that differ from w.
func differences(now rtnl.Link, w Want) (all []string) {
	if !now.Up {
		all = append(all, "the link was set down")
	}
	if now.MTU != w.MTU {
		all = append(all, fmt.Sprintf("mtu %d", now.MTU))
	}
	if now.Qlen != w.Qlen {
		all = append(all, fmt.Sprintf("qlen %d", now.Qlen))
	}
	return all
}

// checkUsed returns a route.ErrNotUsed if packets to the private network, that of the first route,
// would leave by another interface, or with a full tunnel packets to the internet. It checks
// packets without a chosen source address and packets from this side's own address, for which rules
// may decide otherwise. The caller holds mu.
func (h *Host) checkUsed(w Want) error {
	if h.machine.Look == nil || h.dry || h.link.index == 0 {
		return nil
	}
	if len(w.Routes) == 0 { // a kill switch alone
		return nil
	}
	view := h.view()
	for _, from := range []netip.Addr{{}, w.Addresses[0].Local} {
		if err := h.checkRouteUsed(view, w, w.Routes[0], from); err != nil {
			return err
		}
		if !w.Full.On {
			continue
		}
		for _, to := range route.Samples() {
			if err := view.CheckUsed(to, from, "the internet ("+to.String()+")"); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkPeers returns what checkUsed does if a packet to the peer of an address that is there does
// not leave by the device: the kernel then refuses the routes by that peer, and says no more than
// that the gateway is invalid. The caller holds mu.
func (h *Host) checkPeers(w Want) error {
	if h.machine.Look == nil || h.dry || h.link.index == 0 {
		return nil
	}
	have, err := h.machine.Look.Addrs(h.link.index)
	if err != nil {
		return nil //nolint:nilerr // the failure that is explained here is told in any case
	}
	for _, a := range have {
		if !slices.Contains(w.Addresses, Address{Local: a.Local, Peer: a.Peer}) {
			continue
		}
		found, err := h.view().Resolve(rtnl.Flow{To: a.Peer, Protocol: unix.IPPROTO_TCP})
		if err != nil || len(found.Hops) == 0 || found.Hops[0].Index != h.link.index {
			return h.checkUsed(w)
		}
	}
	return nil
}

// checkRouteUsed is checkUsed for one route and source address.
func (h *Host) checkRouteUsed(view route.View, w Want, r Route, from netip.Addr) error {
	network := r.Prefix.Masked()
	there := network.Addr().Next() // the server's own address, lease.PairOf
	if slices.ContainsFunc(w.Addresses, func(a Address) bool { return a.Local == there }) {
		there = r.Via.Next() // a client's
	}
	return view.CheckUsed(there, from, network.String())
}
