package host

import (
	"fmt"
	"net/netip"
	"slices"

	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
)

// Want is the complete wanted state of the tunnel's device, see Apply. The zero Want is none. Lists
// are in the order in which their entries are made; they are undone in reverse order.
type Want struct {
	Dev       string    `json:"dev"`
	MTU       int       `json:"mtu"`  // bytes, 68 to 65535
	Qlen      int       `json:"qlen"` // packets, at least 1
	Addresses []Address `json:"addresses"`
	Routes    []Route   `json:"routes"`
}

// Address is a point-to-point address.
type Address struct {
	Local netip.Addr `json:"local"`
	Peer  netip.Addr `json:"peer"` // the other end
}

// Route leads to a network.
type Route struct {
	Prefix netip.Prefix `json:"prefix"` // host bits are ignored
	Via    netip.Addr   `json:"via"`    // the peer of one of the addresses
}

// Pair returns the Want of a device with one address, and one route to the private network through
// the peer.
func Pair(dev string, mtu, qlen int, local, peer netip.Addr, network netip.Prefix) Want {
	return Want{
		Dev: dev, MTU: mtu, Qlen: qlen, Addresses: []Address{{Local: local, Peer: peer}},
		Routes: []Route{{Prefix: network, Via: peer}},
	}
}

// Equal reports whether two Wants are equal.
func (w Want) Equal(other Want) bool {
	return w.Dev == other.Dev && w.MTU == other.MTU && w.Qlen == other.Qlen &&
		slices.Equal(w.Addresses, other.Addresses) && slices.Equal(w.Routes, other.Routes)
}

// IsZero reports whether w is none.
func (w Want) IsZero() bool { return w.Equal(Want{}) }

// Networks returns the networks that the routes lead to.
func (w Want) Networks() []netip.Prefix {
	all := make([]netip.Prefix, len(w.Routes))
	for i, r := range w.Routes {
		all[i] = r.Prefix.Masked()
	}
	return all
}

// check returns an error if w is invalid. Facts check themselves when they are made.
func (w Want) check() error {
	switch err := rtnl.CheckName(w.Dev); {
	case err != nil:
		return err
	case w.MTU < 68 || w.MTU > 65535:
		return fmt.Errorf("mtu %d is not 68 to 65535", w.MTU)
	case w.Qlen < 1:
		return fmt.Errorf("qlen %d is not positive", w.Qlen)
	case len(w.Addresses) == 0:
		return fmt.Errorf("%s has no address", w.Dev)
	}
	for _, a := range w.Addresses {
		if !a.Local.Is4() || !a.Peer.Is4() {
			return fmt.Errorf("%s and %s are not an IPv4 pair", a.Local, a.Peer)
		}
	}
	for _, r := range w.Routes {
		if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() {
			return fmt.Errorf("%s is not an IPv4 network", r.Prefix)
		}
	}
	return nil
}

// facts returns the facts of w, in the order in which they are made; index is the interface index
// of its device, 0 if it is not known. A new list in Want is turned into facts here.
func (w Want) facts(index int) (all []fact) {
	own := route.Own{Dev: w.Dev, Index: index}
	for _, a := range w.Addresses {
		all = append(all, route.Address{Own: own, Local: a.Local, Peer: a.Peer})
	}
	for _, r := range w.Routes {
		all = append(all, route.Network{Own: own, Prefix: r.Prefix.Masked(), Via: r.Via})
	}
	return all
}

// Kinds returns all kinds of facts that this program makes. A new kind is added here.
func Kinds() journal.Kinds {
	return journal.KindsOf(route.Device{}, route.Address{}, route.Network{}, route.Bypass{})
}
