package admission

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks from which X-Forwarded-For is believed.
type Proxies []netip.Prefix

// Has reports whether a is the address of such a proxy.
func (p Proxies) Has(a netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the address that a request comes from. A trusted proxy appends its peer's address
// to X-Forwarded-For, so the client is the last address there that is not a trusted proxy's; those
// before it may be forged. If the header is missing, or malformed in the part that counts, Client
// returns the proxy's own address.
func (p Proxies) Client(r *http.Request) netip.Addr {
	peer := AddressOf(r.RemoteAddr)
	if !p.Has(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	client := peer
	for i := len(hops) - 1; i >= 0; i-- {
		client = AddressOf(strings.TrimSpace(hops[i]))
		if !client.IsValid() {
			return peer
		}
		if !p.Has(client) {
			break
		}
	}
	return client
}
