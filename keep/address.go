package keep

import (
	"net"
	"net/netip"
)

// HasAddress reports whether this machine has an address, and returns true if it cannot tell.
func HasAddress(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil || a.IsLoopback() {
		return true
	}
	for _, have := range all {
		if p, ok := have.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(p.IP); ok && own.Unmap() == a {
				return true
			}
		}
	}
	return false
}
