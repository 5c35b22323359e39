// Package site says what a client that offers networks behind it needs of its machine: packets
// forwarded between them and the tunnel, and their addresses translated.
package site

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"tunnel/firewall"
	"tunnel/route"
	"tunnel/sysctl"
)

// Site has the networks behind a client. The zero Site has none.
type Site struct {
	// Networks are by their addresses Here, and by those There that the tunnel knows them by, which
	// may be the same.
	Networks []firewall.Map
	// Masquerade gives connections from the tunnel this machine's address, for hosts that have no
	// route back.
	Masquerade bool
}

// Advertised returns the networks as others see them, in the order of Networks.
func (s Site) Advertised() []netip.Prefix {
	var all []netip.Prefix
	for _, m := range s.Networks {
		all = append(all, m.There)
	}
	return all
}

// Rules returns what the device's table holds for s.
func (s Site) Rules() firewall.Rules {
	r := firewall.Rules{Clamp: len(s.Networks) > 0}
	for _, m := range s.Networks {
		if m.Here == m.There {
			r.Networks = append(r.Networks, m.Here)
		} else {
			r.Maps = append(r.Maps, m)
		}
		if s.Masquerade {
			r.Masquerade = append(r.Masquerade, m.Here)
		}
	}
	return r
}

// A Lookup returns how packets to an address leave this machine.
type Lookup func(netip.Addr) (route.NextHop, error)

// Settings returns the kernel parameters by which packets are forwarded between the tunnel's device
// and the interfaces that lead to the networks, and the networks to which none leads.
func (s Site) Settings(dev string, lookup Lookup) (all []sysctl.Setting, none []netip.Prefix) {
	for _, m := range s.Networks {
		if hop, err := leading(m.Here, lookup); err == nil {
			all = append(all, sysctl.Setting{Name: sysctl.Forwarding, Dev: hop.Dev})
		} else {
			none = append(none, m.Here)
		}
	}
	if len(all) == 0 {
		return nil, none
	}
	slices.SortFunc(all, func(a, b sysctl.Setting) int { return strings.Compare(a.Dev, b.Dev) })
	own := []sysctl.Setting{{Name: sysctl.Forwarding, Dev: dev}}
	return append(own, slices.Compact(all)...), none
}

// Ways is what this machine's routes say of a Site.
type Ways struct {
	// Forwarding has the parameters that Settings returns.
	Forwarding []sysctl.Setting
	// Back has commands for the hosts in the networks, or their routers: routes back to the tunnel,
	// which they need unless the connections from it are translated.
	Back []string
}

// Ways looks up the ways to the networks, and logs what is missing, and what others need unless it
// was so before. The tunnel's network is that of the client's address.
func (s Site) Ways(dev string, tunnel netip.Prefix, lookup Lookup, before Ways,
	log *slog.Logger) (w Ways) {
	var none []netip.Prefix
	if w.Forwarding, none = s.Settings(dev, lookup); len(none) > 0 {
		log.Warn("networks are offered to which this machine has no route", "networks", none)
	}
	for _, m := range s.Networks {
		if hop, err := leading(m.Here, lookup); err == nil && hop.Source.IsValid() && !s.Masquerade {
			w.Back = append(w.Back, fmt.Sprintf("ip route add %s via %s", tunnel, hop.Source))
		}
	}
	slices.Sort(w.Back)
	w.Back = slices.Compact(w.Back)
	if len(w.Back) > 0 && !slices.Equal(w.Back, before.Back) {
		log.Info("others may reach networks behind this machine, whose hosts, or their router, need "+
			"a route back", "route_back", strings.Join(w.Back, ", "))
	}
	return w
}

// Check returns an error unless Settings could have returned all for the device.
func (s Site) Check(dev string, all []sysctl.Setting, lookup Lookup) error {
	could, _ := s.Settings(dev, lookup)
	for _, set := range all {
		if !slices.Contains(could, set) {
			return fmt.Errorf("%s leads to no network behind this client", set)
		}
	}
	return nil
}

// loopback is the interface of this machine's own addresses.
const loopback = "lo"

// errOwn means that a network is but this machine itself.
var errOwn = errors.New("this machine's own addresses")

// leading returns how packets leave to a network. Two addresses are looked up, because one may be
// this machine's own.
func leading(n netip.Prefix, lookup Lookup) (route.NextHop, error) {
	for _, a := range []netip.Addr{middle(n), middle(n).Next()} {
		if !n.Contains(a) {
			break
		}
		hop, failed := lookup(a)
		if failed != nil {
			return hop, failed
		}
		if hop.Dev != loopback {
			return hop, nil
		}
	}
	return route.NextHop{}, errOwn
}

// middle returns an address in the middle of a network: the first and the last of one may be
// broadcast addresses.
func middle(n netip.Prefix) netip.Addr {
	a := n.Addr().As4()
	if bits := n.Bits(); bits < 31 {
		a[bits/8] |= 0x80 >> (bits % 8)
	}
	return netip.AddrFrom4(a)
}
