package host

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
	"tunnel/route"
	"tunnel/sysctl"
)

// Full has all traffic of this machine take the device, but what has the mark route.Mark; the zero
// Full is none. What would leave by another interface is refused by Want.Firewall, also IPv6, which
// the tunnel does not carry; where the kernel knows no rules only IPv6 is.
type Full struct {
	On bool `json:"on,omitempty"`
	// NoLAN has also that traffic take the device for which the main table has another route than a
	// default route.
	NoLAN bool `json:"no_lan,omitempty"`
	// Answer has connections that came in by other interfaces answered there.
	Answer bool `json:"answer,omitempty"`
}

// ruled reports whether the kernel knows rules, by which packets with a mark take other routes. A
// dry run that cannot look assumes it.
func (h *Host) ruled() (bool, error) {
	if h.machine.Look == nil {
		return true, nil
	}
	all, err := h.machine.Look.Rules()
	return len(all) > 0, err // a kernel that knows them has some of its own
}

// facts returns the facts of a full tunnel; ruled reports whether the kernel knows rules. The
// routes come before the rules that lead to them.
func (f Full) facts(own route.Own, ruled bool) (all []fact) {
	if !f.On {
		return nil
	}
	four, six := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	if ruled {
		all = append(all, route.Default{Own: own, Prefix: netip.PrefixFrom(four, 0),
			Table: route.Mark})
		if !f.NoLAN {
			all = append(all, route.MainRule())
		}
		return append(all, route.OwnRule())
	}
	if _, missing := os.Stat("/proc/sys/net/ipv6"); missing == nil {
		for _, half := range route.Halves(six) {
			all = append(all, route.Unreachable{Prefix: half})
		}
	}
	for _, half := range route.Halves(four) {
		all = append(all, route.Default{Own: own, Prefix: half, Table: unix.RT_TABLE_MAIN})
	}
	return all
}

// inOrder puts the parameters of the kernel before the facts of a full tunnel, without which
// packets that come in outside it would be dropped.
func inOrder(facts, switches []fact) []fact {
	at := slices.IndexFunc(facts, func(f fact) bool {
		switch f.(type) {
		case route.Rule, route.Default, route.Unreachable:
			return true
		}
		return false
	})
	if at < 0 {
		at = len(facts)
	}
	return slices.Insert(facts, at, switches...)
}

// complete adds to w what follows from this machine; ruled reports whether the kernel knows rules.
// The caller holds mu.
func (h *Host) complete(w Want, ruled bool) (Want, error) {
	k := w.Firewall.KillSwitch
	if k != nil && w.LAN && h.machine.Look != nil {
		lan, links, err := h.lan.Cut(h.view().LAN())
		if err != nil {
			return w, err
		}
		with := *k
		with.LAN, with.Links = append(slices.Clone(k.LAN), lan...), links
		w.Firewall.KillSwitch = &with
	}
	if (w.Full.Answer || k != nil && k.Inbound) && !h.dry && h.machine.Look != nil {
		h.sockets.Read()
		w.Firewall.Older = h.sockets.Older
	}
	if !w.Full.On {
		return w, nil
	}
	outside := &firewall.Outside{Mark: route.Mark, Answer: w.Full.Answer, Refuse: ruled && k == nil,
		Ports: h.sockets.Listening}
	for _, a := range w.Addresses {
		outside.Tunnel = append(outside.Tunnel, a.Local)
	}
	if h.machine.Look != nil {
		if err := h.lan.Fill(outside, h.view(), outside.Refuse && !w.Full.NoLAN); err != nil {
			return w, err
		}
	}
	w.Firewall.Outside = outside
	for _, dev := range sysctl.Strict(w.Dev, maxSysctls/2) {
		s := sysctl.Setting{Name: sysctl.SrcValidMark, Dev: dev}
		if !slices.Contains(w.Sysctls, s) {
			w.Sysctls = append(slices.Clone(w.Sysctls), s)
		}
	}
	if err := w.Firewall.Check(w.Dev, w.MTU); err != nil {
		return w, fmt.Errorf("of this machine: %w", err)
	}
	return w, nil
}
