// Package lan says which networks of this machine stay outside a tunnel.
package lan

import (
	"log/slog"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
	"tunnel/route"
	"tunnel/rtnl"
)

// Limit bounds networks to what a table takes.
type Limit struct {
	Log *slog.Logger

	told int // how many there were when that was logged
}

// Cut returns the first firewall.MaxLAN networks, and logs if there are more, each number once. The
// names of interfaces, and an error, are returned as they are.
func (l *Limit) Cut(all []rtnl.Near, links []string, err error) ([]rtnl.Near, []string, error) {
	if err != nil {
		return nil, nil, err
	}
	rest := len(all) - firewall.MaxLAN
	if rest > 0 && len(all) != l.told {
		l.Log.Warn("this machine has more networks than can stay outside the tunnel: the others are "+
			"refused: join their routes (ip route), or leave out the LAN", "networks", len(all),
			"most", firewall.MaxLAN, "first_refused", all[firewall.MaxLAN].Network)
	}
	l.told = len(all)
	return all[:len(all)-max(rest, 0)], links, nil
}

// Fill completes o by this machine: with local by the networks that stay outside a full tunnel, and
// if o answers by its uplinks.
func (l *Limit) Fill(o *firewall.Outside, v route.View, local bool) (err error) {
	if local {
		if o.LAN, o.Links, err = l.Cut(v.Local()); err != nil {
			return err
		}
	}
	if o.Answer {
		o.Uplinks, err = uplinks(v)
	}
	return err
}

// uplinks returns the names of the interfaces but the tunnel's that a default route leads to, of
// any table, IPv4 or IPv6; or half of one, as other VPNs have it, or 2000::/3.
func uplinks(v route.View) (names []string, err error) {
	const most = 3 // bits of a prefix
	found := map[int]bool{}
	visit := func(r rtnl.Route) bool {
		for _, h := range r.Hops {
			if r.Type == unix.RTN_UNICAST && r.Dst.Bits() <= most && h.Index != v.Own {
				found[h.Index] = true
			}
		}
		return true
	}
	if err := v.Look.Routes(0, 0, visit); err != nil {
		return nil, err
	}
	if err := v.Look.Routes6(0, visit); err != nil {
		return nil, err
	}
	for index := range found {
		link, err := v.Look.LinkByIndex(index)
		if err != nil {
			return nil, err
		}
		if link.Name != "" {
			names = append(names, link.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}
