package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// ErrNotUsed means that the route exists, but the kernel sends packets to its network elsewhere.
var ErrNotUsed = errors.New("the route is not used")

// CheckUsed returns an ErrNotUsed if packets to an address do not leave by the tunnel's own device.
// from is their source address, the zero Addr for one that the kernel chooses; packets says which
// packets to stands for.
func (v View) CheckUsed(to, from netip.Addr, packets string) error {
	found, err := v.Resolve(rtnl.Flow{To: to, From: from, Protocol: unix.IPPROTO_TCP})
	if err == nil && len(found.Hops) > 0 && found.Hops[0].Index == v.Own {
		return nil
	}
	if from.IsValid() {
		packets += " from " + from.String()
	}
	if err != nil || len(found.Hops) == 0 {
		return fmt.Errorf("%w: packets to %s: %w", ErrNotUsed, packets, cmp.Or(err, ErrNoRoute))
	}
	return fmt.Errorf("%w: packets to %s leave by %s, not by %s (table %d)", ErrNotUsed, packets,
		v.Name(found.Hops[0].Index), v.Dev, found.Table)
}

// Samples returns a public address of each half of all, by which the path to the internet is found:
// some machines, and what redirects it, have a route for each half. Few have closer routes to
// these. Nothing is sent there.
func Samples() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{12, 0, 0, 1}),
		netip.AddrFrom4([4]byte{193, 0, 14, 129})}
}
