package dialers

import (
	"net/netip"

	"tunnel/cli/failure"
	"tunnel/transport"
	"tunnel/transport/ws"
)

const flagAllowPlain = "allow-plain"

// checkPlain refuses a server with ws:// beside one with wss:// unless --allow-plain is given: an
// attacker on the path who blocks TLS would get the token in clear. Loopback addresses and
// localhost are exempt; a name that resolves to the loopback is not, because it may resolve to
// another address later.
func checkPlain(allowed bool, dialers []*ws.Dialer) error {
	if allowed {
		return nil
	}
	var secured, plain *ws.Dialer
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
	return failure.Usage(
		"%s is not encrypted, and %s is: an attacker who blocks the latter gets the token by the "+
			"former: use wss:// for both, or --%s", transport.Readable(plain.URL),
		transport.Readable(secured.URL), flagAllowPlain)
}

// literal returns the address of host if no lookup is needed, else the zero Addr.
func literal(host string) netip.Addr {
	if host == "localhost" {
		return netip.IPv6Loopback()
	}
	a, _ := netip.ParseAddr(host)
	return a
}
