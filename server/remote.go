package server

import (
	"net/http"
	"net/netip"
	"strings"
)

// proxies are the networks from which X-Forwarded-For is believed.
type proxies []netip.Prefix

func (p proxies) has(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// client returns the address that a request comes from. A trusted proxy appends to X-Forwarded-For who came to it, so the
// client is the last there that is no such proxy; what stands before it may be a lie. When the header is missing, or
// malformed where it counts, the proxy's own address has to do.
func (p proxies) client(r *http.Request) netip.Addr {
	peer := addressOf(r.RemoteAddr)
	if !p.has(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := peer
	for i := len(hops) - 1; i >= 0; i-- {
		client = addressOf(strings.TrimSpace(hops[i]))
		if !client.IsValid() {
			return peer
		}
		if !p.has(client) {
			break
		}
	}
	return client
}

// addressOf returns the address in text: alone, in brackets, or with a port. Without one it returns the zero Addr.
func addressOf(text string) netip.Addr {
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

// sourceOf returns what an address is counted under: an IPv4 address alone, an IPv6 address with its /64, for that is
// what one customer gets. The zero prefix is not counted: it stands for this machine's own addresses, where a proxy runs
// whose clients must not pay for one another.
func sourceOf(a netip.Addr) netip.Prefix {
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
