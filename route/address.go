package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Address is the fact that the tunnel's device has a point-to-point address. It is what
// ipcmd.AddrAdd adds.
type Address struct {
	Own

	Local netip.Addr `json:"local"`
	Peer  netip.Addr `json:"peer"`
}

// Kind implements journal.Fact.
func (a Address) Kind() string { return "address" }

func (a Address) String() string {
	return fmt.Sprintf("address %s peer %s dev %s", a.Local, a.Peer, a.Dev)
}

// Check implements journal.Fact.
func (a Address) Check(r journal.Rules) error {
	if err := a.check(r, a); err != nil {
		return err
	}
	if !a.Local.Is4() || !a.Peer.Is4() || a.Peer == a.Local {
		return fmt.Errorf("%w: %s and %s are no pair of addresses", journal.ErrFact, a.Local,
			a.Peer)
	}
	return errors.Join(checkNetwork(r, netip.PrefixFrom(a.Local, 32)),
		checkNetwork(r, netip.PrefixFrom(a.Peer, 32)))
}

// Find implements journal.Fact.
func (a Address) Find(m journal.Machine) (bool, error) {
	link, err := a.find(m)
	if err != nil || link.Index == 0 {
		return false, err
	}
	addrs, err := m.Look.Addrs(link.Index)
	return slices.ContainsFunc(addrs, a.is), err
}

// is reports whether have is the address that a describes, exactly as this program adds it.
func (a Address) is(have rtnl.Addr) bool {
	return (a.Index == 0 || have.Index == a.Index) && have.Local == a.Local &&
		have.Peer == a.Peer && have.PrefixLen == 32
}

// Intact reports whether the device has the address and what the kernel makes of it: the route to
// the peer, on which routes by the peer lean, and the local route by which it takes packets to the
// address.
func (a Address) Intact(m journal.Machine) (bool, error) {
	link, err := a.find(m)
	if err != nil || link.Index == 0 {
		return false, err
	}
	addrs, err := m.Look.Addrs(link.Index)
	if err != nil || !slices.ContainsFunc(addrs, a.is) {
		return false, err
	}
	hasPeer, hasLocal := false, false
	err = m.Look.Routes(unix.RT_TABLE_MAIN, link.Index, func(r rtnl.Route) bool {
		hasPeer = r.Dst == netip.PrefixFrom(a.Peer, 32) && r.Protocol == unix.RTPROT_KERNEL
		return !hasPeer
	})
	if err != nil || !hasPeer {
		return false, err
	}
	err = m.Look.Routes(unix.RT_TABLE_LOCAL, link.Index, func(r rtnl.Route) bool {
		hasLocal = r.Type == unix.RTN_LOCAL && r.Dst == netip.PrefixFrom(a.Local, 32)
		return !hasLocal
	})
	return hasLocal, err
}

// Make gives the device the address. What else has it on the device, a change by another program
// for example, would have the kernel refuse it, and goes first.
func (a Address) Make(ctx context.Context, m journal.Machine) error {
	if a.canClear(m) {
		addrs, err := m.Look.Addrs(a.Index)
		if err != nil {
			return err
		}
		for _, have := range addrs {
			if have.Local == a.Local && !a.is(have) {
				// An error is that it has gone meanwhile, or the kernel says so of the addition.
				_, _ = m.Run.Run(ctx, ipcmd.ForeignAddrDel(a.Dev, have.Local, have.Peer,
					have.PrefixLen))
			}
		}
	}
	_, err := m.Run.Run(ctx, ipcmd.AddrAdd(a.Dev, a.Local, a.Peer))
	return err
}

// Remove implements journal.Fact.
func (a Address) Remove(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, ipcmd.AddrDel(a.Dev, a.Local, a.Peer))
	return err
}
