package admission

import (
	"net"
	"net/netip"
	"strings"
)

// AddressOf returns the address in text, which may be in brackets or have a port, and the zero Addr
// if there is none.
func AddressOf(text string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		port, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}
		}
		a = port.Addr()
	}
	return a.Unmap().WithZone("")
}

// SourceOf returns the prefix that an address is counted under: an IPv4 address itself, the /64 of
// an IPv6 address, which is what one customer gets. A loopback address has the zero prefix, which
// is not counted: a proxy there connects for many clients.
func SourceOf(a netip.Addr) netip.Prefix {
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}
	}
	bits := 64
	if a.Is4() {
		bits = 32
	}
	prefix, _ := a.Prefix(bits) // never fails with these lengths
	return prefix
}

// networks returns the prefixes that source lies in, the longest first: for IPv6 the /56 and the
// /48, which a site gets (RFC 6177), for IPv4 the /24.
func networks(source netip.Prefix) []netip.Prefix {
	bits := []int{56, 48}
	switch {
	case !source.IsValid():
		return nil
	case source.Addr().Is4():
		bits = []int{24}
	}
	all := make([]netip.Prefix, len(bits))
	for i, n := range bits {
		all[i], _ = source.Addr().Prefix(n) // never fails with these lengths
	}
	return all
}

// addressOfConn returns the address of the other end of a TCP connection.
func addressOfConn(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
