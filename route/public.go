package route

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// Public returns the public IPv4 networks that the main table leads to without the tunnel, but by a
// default route: a full tunnel leaves them where they are.
func (v View) Public() (networks []netip.Prefix, err error) {
	var all []rtnl.Near // whatever their interfaces
	err = v.Look.Routes(unix.RT_TABLE_MAIN, 0, func(r rtnl.Route) bool {
		if r.Type == unix.RTN_UNICAST && r.Dst.Bits() > 0 && !IsPrivate(r.Dst) && !leavesBy(r, v.Own) {
			all = append(all, rtnl.Near{Network: r.Dst.Masked()})
		}
		return true
	})
	for _, n := range inOrder(all) {
		networks = append(networks, n.Network)
	}
	return networks, err
}
