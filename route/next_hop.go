package route

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// NextHop is how packets to one address leave this machine.
type NextHop struct {
	Dev     string     // the interface
	Gateway netip.Addr // not valid when the address is on the link, or this machine's own
	Index   int        // of Dev; 0 if there is no such interface
	Running bool       // Dev is up and has something at its other end
}

// NextHop returns how packets to server leave this machine now, by a bypass if it has one. Without
// any route the error is an ErrNoRoute.
func (v View) NextHop(server netip.Addr) (NextHop, error) {
	found, err := v.Resolve(rtnl.Flow{To: server, Protocol: unix.IPPROTO_TCP})
	if err == nil && len(found.Hops) == 0 {
		err = fmt.Errorf("%w to %s", ErrNoRoute, server)
	}
	if err != nil {
		return NextHop{}, err
	}
	link, err := v.Look.LinkByIndex(found.Hops[0].Index)
	if err != nil {
		return NextHop{}, err
	}
	return NextHop{Dev: link.Name, Gateway: found.Hops[0].Via, Index: link.Index,
		Running: link.Running}, nil
}
