package config

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"tunnel/auth"
	"tunnel/certs"
	"tunnel/client/grant"
	"tunnel/config/commands"
	"tunnel/config/location"
	"tunnel/config/setting"
	"tunnel/firewall"
	"tunnel/transport"
)

// Connect is the configuration of `tunnel connect`. DefaultConnect has the defaults.
type Connect struct {
	Common

	// Servers are tried in this order.
	Servers []location.Server
	// Header has further headers of the HTTP request.
	Header []Header
	// AllowPlain permits a server with ws:// beside one with wss://.
	AllowPlain bool
	// KeepTrying does not give up when the first attempt fails.
	KeepTrying bool
	// Network has the networks that a server may grant; without any the client decides itself.
	Network []netip.Prefix
	// Address is the only one that the client accepts; the zero Addr accepts any.
	Address netip.Addr
	// OnUp and OnDown are shell commands; "" is none.
	OnUp, OnDown string
	// Pin has the keys of which the server must have one; without any, every key is accepted that a
	// certificate vouches for.
	Pin certs.Pins
	// CA is the PEM file of the roots to trust; "" is the system's.
	CA string
	// TLSCert and TLSKey are the PEM files of the client's certificate; "" is none.
	TLSCert, TLSKey string
	// Proxy is the one to use; the zero Proxy is that of the environment.
	Proxy Proxy
	// FullTunnel has all traffic go through the tunnel, and KillSwitch lets nothing else leave. NoLAN
	// leaves out this machine's own networks, AllowInbound adds connections from outside.
	FullTunnel, KillSwitch, NoLAN, AllowInbound bool
	// Confirm is the time within which the run must be confirmed; 0 is for ever.
	Confirm time.Duration
	// Accept has the public networks that the client takes if the server pushes them, AcceptAll for
	// all of them; Exclude has those that it never takes.
	Accept, Exclude []netip.Prefix
	// NoRoutes takes none of the networks that the server pushes.
	NoRoutes bool
	// Advertise has the networks behind this machine that it offers. Masquerade gives connections
	// into them this machine's address.
	Advertise  []firewall.Map
	Masquerade bool
	// AcceptDNS has the server's DNS servers resolve all names of this machine.
	AcceptDNS bool
	// Lanes is the number of connections, 1 to transport.MaxLanes; default 1.
	Lanes int
}

// A Header is one of HTTP.
type Header struct {
	Name, Value string
}

// Proxy names the proxy to use. The zero Proxy leaves it to the environment.
type Proxy struct {
	None bool     // use none
	URL  *url.URL // as transport.ParseProxy returns it
}

// DefaultConnect returns the defaults.
func DefaultConnect() *Connect { return &Connect{Common: defaultCommon(), Lanes: 1} }

// Settings is the table of connect's settings, bound to o.
func (o *Connect) Settings() []*setting.Setting {
	return slices.Concat(o.serverSettings(), o.networkSettings(), o.trafficSettings(),
		o.siteSettings(), o.tlsSettings(), o.settings())
}

func (o *Connect) serverSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "url", Trusted: true, Category: setting.Server, Argument: true,
			Value: location.Servers(&o.Servers),
			Usage: "`URL` of a server, wss://HOST[:PORT][/PATH], or https://…, or HOST; further " +
				"ones are tried when those before fail",
			More: "The variable has spaces between them. A HOST without a port is port 443, then " +
				"8443"},
		{Name: "header", Reload: setting.NextConnection, Trusted: true,
			Category: setting.Server, Secret: true, Value: headers(&o.Header),
			Usage: "further HTTP header, `K=V`; may be given several times",
			More: "With `Authorization`, for a proxy in front, the token is sent in " +
				"`Tunnel-Authorization`"},
		{Name: "allow-plain", Trusted: true, Category: setting.Server,
			Value: setting.Bool(&o.AllowPlain),
			Usage: "use a server with ws:// also where another URL has wss://: an attacker who " +
				"blocks that one then sees the token",
			More: "Loopback addresses need no permission"},
		{Name: "keep-trying", Category: setting.Server, Value: setting.Bool(&o.KeepTrying),
			Usage: "do not give up when the first attempt fails, as at boot"},
		{Name: "proxy", Reload: setting.NextConnection, Trusted: true,
			Category: setting.Server, Value: proxy(&o.Proxy),
			Usage: "`URL` of the proxy to use, " +
				"[http|https|socks5|socks5h]://[USER:PASSWORD@]HOST:PORT, or none, instead of " +
				"that of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY; other users of this " +
				"machine may see a password in it, better use TUNNEL_PROXY",
			More: "With `socks5h://` the proxy resolves the server's name"},
		{Name: "lanes", Category: setting.Server, Value: setting.Int(&o.Lanes),
			Usage: "`NUMBER` of connections to share the packets, 1 to 16, if the server allows " +
				"so many",
			More: "TLS then uses more cores, and a lost segment delays the flows of its " +
				"connection only. A flow stays on one connection, in order. When a connection " +
				"breaks its flows use the others, and it is dialled again"},
	}
}

func (o *Connect) networkSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "network", Category: setting.Network, Value: acceptedNetworks(&o.Network),
			Usage: "accept only a network that lies in `PREFIX`, which may be a public one, " +
				"instead of any private one; may be given several times",
			More: "Without it a client accepts any of RFC 1918 and RFC 6598 (100.64.0.0/10), /8 " +
				"to /29, that contains no DNS server of its machine, now or later in the " +
				"session: one inside the tunnel, such as `--on-up` may set, needs `--network`"},
		{Name: "address", Category: setting.Network, Value: clientAddress(&o.Address),
			Usage: "take this `ADDRESS` of the network or none",
			More: "Clients have odd addresses. One that another client had within " +
				"`--lease-hold`, or this one before it lost its `--state`, is refused: `token " +
				"create --address` reserves one permanently"},
		{Name: "accept", Trusted: true, Category: setting.Network, Value: acceptedRoutes(&o.Accept),
			Usage: "take also a public network that the server pushes, if it lies in `PREFIX`, or " +
				"any (all); may be given several times",
			More: "Private networks (RFC 1918, RFC 6598) are taken without it, unless they overlap " +
				"one of this machine's. `all` is never the default route, nor what adds up to it"},
		{Name: "exclude", Trusted: true, Category: setting.Network, Value: excludedRoutes(&o.Exclude),
			Usage: "leave the network `PREFIX` out of what the server pushes; may be given " +
				"several times",
			More: "The rest of a larger network is taken"},
		{Name: "no-routes", Category: setting.Network, Value: setting.Bool(&o.NoRoutes),
			Usage: "take none of the networks that the server pushes"},
		{Name: "accept-dns", Trusted: true, Category: setting.Network, Value: setting.Bool(&o.AcceptDNS),
			Usage: "have the server's DNS servers resolve all names of this machine",
			More: "Without it they resolve the names of the server's domains only, which takes " +
				"systemd-resolved, and no public suffix such as `com`. With it also by resolvconf " +
				"or in `/etc/resolv.conf`, which come back at the end; what was changed there " +
				"meanwhile is kept. Servers must lie in a network of the tunnel that is taken, or " +
				"with `--full-tunnel` on the internet; others are left out, which the log says. If " +
				"those that are left cannot be set at first, the program ends"},
		{Name: "mtu", Category: setting.Network, Value: setting.OptionalInt(&o.MTU),
			Usage: "`BYTES` of the largest packet, instead of the server's value"},
		{Name: "qlen", Category: setting.Network, Value: setting.OptionalInt(&o.Qlen),
			Usage: "transmit queue length in `PACKETS`, instead of the server's value"},
		{Name: commands.OnUp, Reload: setting.AtOnce, Trusted: true, Category: setting.Machine,
			Value: setting.Command(&o.OnUp),
			Usage: "shell `COMMAND` to run when the device is up, with TUNNEL_DEV, " +
				"TUNNEL_ADDRESS and TUNNEL_PEER"},
		{Name: commands.OnDown, Reload: setting.AtOnce, Trusted: true, Category: setting.Machine,
			Value: setting.Command(&o.OnDown),
			Usage: "shell `COMMAND` to run before the device goes down, for a second at most, with " +
				"TUNNEL_REASON, TUNNEL_BYTES_IN and others",
			More: "[OPERATIONS.md](OPERATIONS.md#hooks) has the variables"},
	}
}

func (o *Connect) tlsSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "pin", Reload: setting.NextConnection, Trusted: true,
			Category: setting.Server, Value: pins(&o.Pin),
			Usage: "the server's key must be `sha256:HASH`, as the server prints it, and no " +
				"authority needs to have signed its certificate; may be given several times",
			More: "HASH is the SHA-256 of its SubjectPublicKeyInfo, base64 or hexadecimal. Name " +
				"and dates of the certificate do not count either, unless `--ca` is given too"},
		{Name: "ca", Reload: setting.NextConnection,
			Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&o.CA),
			Usage: "`FILE` with the certificates to trust instead of the system's, PEM"},
		{Name: "tls-cert", Reload: setting.NextConnection,
			Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&o.TLSCert),
			Usage: "`FILE` with this client's certificate chain, for a server with --client-ca, " +
				"PEM; read again when it changes"},
		{Name: "tls-key", Reload: setting.NextConnection,
			Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&o.TLSKey), Usage: "`FILE` with its key, PEM"},
	}
}

// check notes all problems in c. It reads no file and resolves no name. A missing URL is not a
// problem here: the command checks that.
func (o *Connect) check(c *setting.Checker) {
	o.Common.check(c, true)
	o.checkSite(c)
	c.Within("lanes", o.Lanes, 1, transport.MaxLanes)
	for name, given := range map[string][]netip.Prefix{"accept": o.Accept, "exclude": o.Exclude} {
		if len(given) > 0 && o.NoRoutes {
			c.About(name, "--no-routes contradicts --%s: leave one out", name)
		}
	}
	if len(o.Servers) > 0 && !slices.ContainsFunc(o.Servers, location.Server.Secure) {
		for _, name := range []string{"pin", "ca", "tls-cert", "tls-key"} {
			if c.From.Given(name) && !(name == "tls-key" && c.Said("tls-cert")) {
				c.About(name, "--%s is for wss://, and the URL is %s", name,
					transport.Readable(o.Servers[0].URL))
			}
		}
	}
	o.checkTraffic(c)
	if (o.TLSCert == "") != (o.TLSKey == "") && !c.Said("tls-cert") && !c.Said("tls-key") {
		c.About(c.Given("tls-cert", "tls-key"), "--tls-cert and --tls-key go together: give both")
	}
}

func headers(p *[]Header) setting.Value {
	parse := func(s string) (Header, error) {
		k, v, ok := strings.Cut(s, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		switch {
		case !ok || k == "":
			return Header{}, errors.New(" has a value that is not K=V")
		case !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v):
			return Header{}, errors.New(" has a value, K=V, that is not a header of HTTP: no name of " +
				"a header has a blank or a colon")
		case ownHeader(k):
			return Header{}, fmt.Errorf(" %s: the program sets this header itself", k)
		}
		return Header{k, v}, nil
	}
	format := func(h Header) string { return h.Name + "=…" } // the value may be a password
	return setting.Several[Header]{P: p, Parse: parse, Format: format}
}

// ownHeader reports whether the program sets a header of the request itself: another value would be
// overwritten, or break the request.
func ownHeader(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Trailer",
		auth.TokenHeader:
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-")
}

// ParseAddress parses the address that a client is to have, "" to the zero Addr. The error
// continues the setting's name.
func ParseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf(" %s is not an IPv4 address", text)
	}
	if a.As4()[3]%2 == 0 { // whatever the network is, see lease.PairOf
		return netip.Addr{},
			fmt.Errorf(
				" %s: no client can have that, because pairs of addresses begin with an odd one",
				text)
	}
	return a, nil
}

func clientAddress(p *netip.Addr) setting.Value {
	return setting.Single[netip.Addr]{P: p, Parse: ParseAddress, Format: func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}}
}

func acceptedNetworks(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas, Format: netip.Prefix.String,
		Parse: func(s string) (netip.Prefix, error) {
			n, err := netip.ParsePrefix(s)
			switch {
			case err != nil || !n.Addr().Is4():
				return n, fmt.Errorf(" %s is not an IPv4 prefix like 10.1.1.0/24", s)
			case n != n.Masked():
				return n, fmt.Errorf(" %s has host bits set, its prefix is %s", s, n.Masked())
			case n.Bits() < grant.MinBits || n.Bits() > grant.MaxBits:
				return n, fmt.Errorf(" %s: no server can have that, networks are /%d to /%d", s,
					grant.MinBits, grant.MaxBits)
			case slices.ContainsFunc(neverRouted(), n.Overlaps):
				return n, fmt.Errorf(" %s: these are addresses that no network routes", s)
			}
			return n, nil
		}}
}

// neverRouted returns what cannot be a tunnel's network: "this network" and loopback (RFC 1122
// section 3.2.1.3), link-local (RFC 3927), multicast (RFC 5771) and the reserved rest (RFC 1112
// section 4).
func neverRouted() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	}
}

func pins(p *certs.Pins) setting.Value {
	return setting.Several[certs.Pin]{P: (*[]certs.Pin)(p), Split: setting.ByCommas,
		Format: certs.Pin.String, Parse: func(s string) (certs.Pin, error) {
			pin, err := certs.ParsePin(s)
			if err != nil {
				return pin, fmt.Errorf(" %w", err)
			}
			return pin, nil
		}}
}

// noProxy is the value of --proxy that uses none, whatever the environment says.
const noProxy = "none"

func proxy(p *Proxy) setting.Value {
	secret := func(p Proxy) bool { return p.URL != nil && transport.HasSecret(p.URL) }
	return setting.Single[Proxy]{P: p, Secret: secret, Format: Proxy.text,
		Parse: func(s string) (Proxy, error) {
			switch s {
			case "":
				return Proxy{}, nil
			case noProxy:
				return Proxy{None: true}, nil
			}
			u, err := transport.ParseProxy(s)
			if err != nil {
				return Proxy{}, fmt.Errorf(": %w", err)
			}
			return Proxy{URL: u}, nil
		}}
}

// text returns the proxy as the setting takes it, without its user and password.
func (p Proxy) text() string {
	switch {
	case p.None:
		return noProxy
	case p.URL != nil:
		return transport.Readable(p.URL)
	}
	return ""
}
