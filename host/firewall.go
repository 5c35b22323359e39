package host

import (
	"context"
	"slices"

	"tunnel/firewall"
	"tunnel/nftcmd"
	"tunnel/sysctl"
)

// needsTable reports whether w needs a table: for its rules, or to keep forwarding to the tunnel.
func (w Want) needsTable() bool {
	return !w.Firewall.IsZero() || slices.ContainsFunc(w.Sysctls, func(s sysctl.Setting) bool {
		return s.Name == sysctl.Forwarding || s.Name == sysctl.Forwarding6
	})
}

func isTable(f fact) bool {
	_, ok := f.(firewall.Table)
	return ok
}

// switches returns the facts of w's Sysctls: those that this Host has made, and one for each other
// parameter that is off. An interface that is not there has none, unless it was renamed since. The
// caller holds mu.
func (h *Host) switches(ctx context.Context, w Want) (all []fact, err error) {
	var known []sysctl.Switch
	for _, f := range h.made {
		if s, ok := f.(sysctl.Switch); ok {
			known = append(known, s)
		}
	}
	for _, s := range w.Sysctls {
		made, index, err := sysctl.Known(known, s, h.machine.Look)
		if err != nil {
			return nil, err
		}
		if index == 0 && h.machine.Look != nil && !h.dry {
			h.log.DebugContext(ctx, "kernel parameter not set: no such interface", "name", s)
			continue
		}
		if made == (sysctl.Switch{}) {
			if made, err = sysctl.Plan(s, index); err != nil && !h.dry {
				return nil, err
			}
		}
		if made != (sysctl.Switch{}) && !slices.Contains(all, fact(made)) {
			all = append(all, made)
		}
	}
	return all, nil
}

// guardsOf returns the interfaces of which forwarding is this Host's own, by their names now. Where
// another program has switched it on for all, it is for that one to limit. The caller holds mu.
func (h *Host) guardsOf(switches []fact) (g firewall.Guards) {
	for _, f := range switches {
		s, ok := f.(sysctl.Switch)
		if !ok || s.Shared() {
			continue
		}
		now, _, _ := s.Now(h.machine.Look) // after an error by the name that it had
		switch s.Name {
		case sysctl.Forwarding:
			g.IPv4 = append(g.IPv4, now.Dev)
		case sysctl.Forwarding6:
			g.IPv6 = append(g.IPv6, now.Dev)
		}
	}
	return g
}

// setTable makes the table of the device hold what w says, unless it does, and returns what others
// have changed in it. The caller holds mu.
func (h *Host) setTable(ctx context.Context, w Want, g firewall.Guards) (lost []string, err error) {
	g.Inside = w.Networks()
	if g, err = h.ways.Complete(ctx, h.machine, w.Dev, w.Firewall, g); err != nil {
		return nil, err
	}
	h.tabled, h.guards = w, g
	if k := w.Firewall.KillSwitch; k != nil {
		onTrial := *k
		onTrial.Until = h.until
		w.Firewall.KillSwitch = &onTrial
	}
	want := w.Firewall.Limited().Table(w.Dev, w.MTU, g)
	if h.filled.Equal(want) {
		if h.machine.Look == nil || h.dry {
			return nil, nil
		}
		differs, err := firewall.Compare(ctx, h.machine, want)
		if err == nil && differs == "" && want.Lease > 0 {
			_, err = h.machine.Run.Run(ctx, nftcmd.Renew(want))
		}
		if err != nil || differs == "" {
			return nil, err
		}
		lost = []string{"the firewall: " + differs}
		if err := h.contest(lost); err != nil {
			return nil, err
		}
	}
	absent := h.filled.Name == "" || len(lost) > 0
	h.filled = nftcmd.Table{} // one that fails is no kill switch yet
	if err := firewall.Set(ctx, h.machine, want); err != nil {
		return nil, err
	}
	if absent {
		w.Firewall.Retrack(ctx, h.machine)
	}
	h.filled, h.sealed, h.leased = want, w.Firewall.KillSwitch != nil, want.Lease > 0
	return lost, nil
}
