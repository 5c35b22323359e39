// Package lan says which networks of this machine stay outside a tunnel.
package lan

import (
	"log/slog"

	"tunnel/firewall"
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
