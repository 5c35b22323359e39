package cli

import (
	"net/netip"

	"tunnel/transport"
)

const flagAllowPlain = "allow-plain"

// checkPlain refuses a server with ws:// beside one with wss:// unless --allow-plain is there: somebody on the path who
// blocks TLS would be given the token in clear. A loopback address, and localhost, is no way for anybody to do that; a name
// that resolves to one may tomorrow resolve to another.
func checkPlain(allowed bool, dialers []*transport.Dialer) error {
	if allowed {
		return nil
	}
	var secured, plain *transport.Dialer
	for _, d := range dialers {
		if d.URL.Scheme == "wss" {
			secured = d
		} else if d.Clear(literal(d.URL.Hostname())) {
			plain = d
		}
	}
	if secured == nil || plain == nil {
		return nil
	}
	return usage("%s is not encrypted, and %s is: whoever blocks the one gets the token by the other: use wss:// for both, or --%s", plain.URL, secured.URL, flagAllowPlain)
}

// literal returns the address that host is without a look-up, the zero Addr if only one can tell.
func literal(host string) netip.Addr {
	if host == "localhost" {
		return netip.IPv6Loopback()
	}
	a, _ := netip.ParseAddr(host)
	return a
}
