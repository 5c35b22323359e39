package route

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// NextHop is how packets to one address leave this machine.
type NextHop struct {
	Dev     string     // the interface
	Gateway netip.Addr // not valid when the address is on the link, or this machine's own
	Source  netip.Addr // of packets that name none; not valid if it is not known
	Index   int        // of Dev; 0 if there is no such interface
	Running bool       // Dev is up and has something at its other end
	// packets that come by Dev are forwarded: net.ipv4.conf.DEV.forwarding is not 0
	Forwards bool
}

// NextHop returns how packets to server leave this machine now, by a bypass if it has one; with
// port 0 packets of others that it forwards. Without any route the error is an ErrNoRoute.
func (v View) NextHop(server netip.AddrPort) (NextHop, error) {
	found, err := v.Resolve(v.flow(server))
	if err == nil && len(found.Hops) == 0 {
		err = fmt.Errorf("%w to %s", ErrNoRoute, server.Addr())
	}
	if err != nil {
		return NextHop{}, err
	}
	link, err := v.Look.LinkByIndex(found.Hops[0].Index)
	if err != nil {
		return NextHop{}, err
	}
	return NextHop{Dev: link.Name, Gateway: found.Hops[0].Via, Source: found.Src, Index: link.Index,
		Running: link.Running, Forwards: forwardsFrom(link.Name)}, nil
}

// forwardsFrom reports whether this machine forwards IPv4 packets that come by an interface. It
// returns true if that is not known.
func forwardsFrom(dev string) bool {
	value, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4/conf", dev, "forwarding"))
	return err != nil || string(bytes.TrimSpace(value)) != "0"
}
