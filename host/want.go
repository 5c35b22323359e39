package host

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/sysctl"
)

// Want is the complete wanted state of the tunnel's device, see Apply. The zero Want is none. Lists
// are in the order in which their entries are made; they are undone in reverse order.
type Want struct {
	Dev       string    `json:"dev"`
	MTU       int       `json:"mtu"`  // bytes, 68 to 65535
	Qlen      int       `json:"qlen"` // packets, at least 1
	Addresses []Address `json:"addresses"`
	Routes    []Route   `json:"routes"` // that to the private network is the first
	// Firewall is what the device's nftables table holds.
	Firewall firewall.Rules `json:"firewall,omitzero"`
	// Sysctls are switched on. Where forwarding is, the table keeps it to the tunnel.
	Sysctls []sysctl.Setting `json:"sysctls,omitempty"`
	// Full has all traffic of this machine take the device; it needs Addresses.
	Full Full `json:"full,omitzero"`
	// LAN keeps the networks of this machine's other interfaces reachable past Firewall.KillSwitch,
	// whose LAN Apply completes.
	LAN bool `json:"lan,omitempty"`
	// Names are resolved through the tunnel; not on a server.
	Names dns.Config `json:"names,omitzero"`
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

// The device's settings until a server says otherwise: those of `tunnel serve`, by default.
const (
	firstMTU  = 1400 // bytes
	firstQlen = 100  // packets
)

// Sealed returns the Want of a kill switch alone, as it is before the first session. mtu and qlen
// may be 0.
func Sealed(dev string, mtu, qlen int, lan bool, k firewall.KillSwitch) Want {
	return Want{Dev: dev, MTU: cmp.Or(mtu, firstMTU), Qlen: cmp.Or(qlen, firstQlen), LAN: lan,
		Firewall: firewall.Rules{KillSwitch: &k}}
}

// Equal reports whether two Wants are equal.
func (w Want) Equal(other Want) bool {
	return w.Dev == other.Dev && w.MTU == other.MTU && w.Qlen == other.Qlen &&
		slices.Equal(w.Addresses, other.Addresses) && slices.Equal(w.Routes, other.Routes) &&
		w.Firewall.Equal(other.Firewall) && slices.Equal(w.Sysctls, other.Sysctls) &&
		w.Full == other.Full && w.LAN == other.LAN && w.Names.Equal(other.Names)
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
	case len(w.Addresses) == 0 && (w.Firewall.KillSwitch == nil || len(w.Routes) > 0):
		return fmt.Errorf("%s has no address", w.Dev)
	case len(w.Routes) > 1+maxMore:
		return fmt.Errorf("more than %d routes", 1+maxMore)
	case len(w.Sysctls) > maxSysctls:
		return fmt.Errorf("more than %d kernel parameters", maxSysctls)
	case w.Full.On && len(w.Addresses) == 0:
		return fmt.Errorf("%s has no address for all traffic", w.Dev)
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
	for _, s := range w.Sysctls {
		if err := s.Check(); err != nil {
			return err
		}
	}
	return w.Firewall.Check(w.Dev, w.MTU)
}

// maxMore bounds the routes beside that to the private network.
const maxMore = 1024

// maxSysctls is more than a machine has interfaces between which it forwards.
const maxSysctls = 128

// facts returns the facts of w but those of Sysctls, in the order in which they are made; index is
// the interface index of its device, 0 if it is not known, and ruled reports whether the kernel
// knows rules. A new list in Want is turned into facts here. The table comes first: it is the last
// to go.
func (w Want) facts(index int, ruled bool) (all []fact) {
	if w.needsTable() {
		all = append(all, firewall.Table{Dev: w.Dev})
	}
	own := route.Own{Dev: w.Dev, Index: index}
	for _, a := range w.Addresses {
		all = append(all, route.Address{Own: own, Local: a.Local, Peer: a.Peer})
	}
	for i, to := range w.Routes {
		n := route.Network{Own: own, Prefix: to.Prefix.Masked(), Via: to.Via}
		if i == 0 || n.Prefix.Contains(n.Via) {
			all = append(all, n)
		} else {
			all = append(all, route.Beyond{Network: n})
		}
	}
	return append(all, w.Full.facts(own, ruled)...)
}

// Kinds returns all kinds of facts that this program makes. A new kind is added here.
func Kinds() journal.Kinds {
	return journal.KindsOf(route.Device{}, route.Address{}, route.Network{}, route.Beyond{},
		route.Bypass{}, route.Rule{}, route.Default{}, route.Unreachable{}, firewall.Table{},
		sysctl.Switch{}, dns.Link{}, dns.Record{}, dns.File{})
}
