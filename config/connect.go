package config

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"tunnel/auth"
	"tunnel/certs"
	"tunnel/client/grant"
	"tunnel/transport"
)

// Connect is what `tunnel connect` is told. DefaultConnect has the defaults.
type Connect struct {
	Common

	Servers    []Server       // in the order in which they are asked
	Header     []Header       // further ones of HTTP
	AllowPlain bool           // go to ws:// beside wss://
	KeepTrying bool           // also when the first attempt fails
	Network    []netip.Prefix // what may be granted; none for the client's own judgement
	Address    netip.Addr     // that it insists on; zero for none
	OnUp       string         // shell commands, "" for none
	OnDown     string         //
	Pin        certs.Pins     // keys of which the server must have one; none for any
	CA         string         // PEM file of whom to trust; "" for the system's
	TLSCert    string         // and TLSKey: PEM files of the client's certificate; "" for none
	TLSKey     string         //
	Proxy      Proxy          // zero for the environment's
	Lanes      int            // connections, 1 to transport.MaxLanes; default 1
}

// Server is one to join.
type Server struct {
	URL   *url.URL // ws or wss
	Guess bool     // the port is a guess: it is the server before this one, where that has nothing
}

func (s Server) secure() bool { return s.URL.Scheme == "wss" }

// Header is one of HTTP.
type Header struct {
	Name, Value string
}

// Proxy says by which proxy to go. The zero Proxy leaves it to the environment.
type Proxy struct {
	None bool     // go without
	URL  *url.URL // as transport.ParseProxy returns it
}

// DefaultConnect returns the defaults.
func DefaultConnect() *Connect { return &Connect{Common: defaultCommon(), Lanes: 1} }

// Settings is the table of what connect can be told, bound to o.
func (o *Connect) Settings() []*Setting {
	return append([]*Setting{
		{Name: "url", Category: server, Argument: true, value: serverURLs(&o.Servers),
			Usage: "`URL` of a server, wss://HOST[:PORT][/PATH], or https://…, or HOST; further ones are joined when those before cannot be",
			More:  "The variable has spaces between them. A HOST without a port is port 443, then 8443"},
		{Name: "header", Category: server, Secret: true, value: headers(&o.Header),
			Usage: "further HTTP header, `K=V`; may be given several times",
			More:  "With `Authorization`, for a proxy in front, the token goes in `Tunnel-Authorization`"},
		{Name: "allow-plain", Category: server, value: onOff(&o.AllowPlain),
			Usage: "go to a server with ws:// also where another URL has wss://: whoever blocks that one then gets to see the token",
			More:  "Loopback addresses need no permission"},
		{Name: "keep-trying", Category: server, Usage: "do not give up when the first attempt fails, as at boot", value: onOff(&o.KeepTrying)},
		{Name: "network", Category: network, value: acceptedNetworks(&o.Network),
			Usage: "accept only a network that lies in `PREFIX`, which may be a public one, instead of any private one; may be given several times",
			More: "Without it a client accepts any of RFC 1918 and RFC 6598 (100.64.0.0/10), /8 to /29, that contains no DNS server of its " +
				"machine, now or later in the session: one inside the tunnel, such as `--on-up` may set, needs `--network`"},
		{Name: "address", Category: network, Usage: "take this `ADDRESS` of the network or none", value: clientAddress(&o.Address),
			More: "Clients have odd ones. One that another client had within `--lease-hold`, or this one before it lost its `--state`, is " +
				"refused: `token create --address` reserves one for good"},
		{Name: "mtu", Category: network, Usage: "`BYTES` of the largest packet, instead of the server's word", value: wish(&o.MTU)},
		{Name: "qlen", Category: network, Usage: "transmit queue length in `PACKETS`, instead of the server's word", value: wish(&o.Qlen)},
		{Name: "on-up", Category: machine, value: text(&o.OnUp),
			Usage: "shell `COMMAND` to run when the device is up, with TUNNEL_DEV, TUNNEL_ADDRESS and TUNNEL_PEER"},
		{Name: "on-down", Category: machine, Usage: "shell `COMMAND` to run before it goes, within a second", value: text(&o.OnDown)},
		{Name: "pin", Category: server, value: pins(&o.Pin),
			Usage: "the server's key must be `sha256:HASH`, as the server prints it, and then whoever signed its certificate does not matter; may be given several times",
			More: "HASH is the SHA-256 of its SubjectPublicKeyInfo, base64 or hexadecimal. Name and dates of the certificate do not count either, " +
				"unless there is `--ca` too"},
		{Name: "ca", Category: server, Input: true, Path: true, value: text(&o.CA),
			Usage: "`FILE` with the certificates to trust instead of the system's, PEM"},
		{Name: "tls-cert", Category: server, Input: true, Path: true, value: text(&o.TLSCert),
			Usage: "`FILE` with this client's certificate chain, for a server with --client-ca, PEM; read again when it changes"},
		{Name: "tls-key", Category: server, Input: true, Path: true, Usage: "`FILE` with its key, PEM", value: text(&o.TLSKey)},
		{Name: "proxy", Category: server, value: proxy(&o.Proxy),
			Usage: "`URL` of the proxy to go through, [http|https|socks5|socks5h]://[USER:PASSWORD@]HOST:PORT, or none, instead of what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say; other users of this machine may see a password in it, better use TUNNEL_PROXY",
			More:  "With `socks5h://` the proxy resolves the server's name"},
		{Name: "lanes", Category: server, value: number(&o.Lanes),
			Usage: "`NUMBER` of connections to share the packets, 1 to 16, if the server allows so many",
			More: "TLS then uses more cores, and a segment that is lost holds up the flows of its connection only. A flow stays on one connection, " +
				"in order; when a connection breaks its flows go on over the others, and it is dialled again"},
	}, o.settings()...)
}

// Validate reports all that is wrong, as Errors. It reads no file and resolves no name. That there is no URL is no fault: it
// is the command that needs one.
func (o *Connect) Validate() error {
	c := newChecker(o.Settings(), o.From)
	o.check(c)
	return c.err()
}

func (o *Connect) origins() *Origins { return &o.From }

func (o *Connect) check(c *checker) {
	o.Common.check(c, true)
	c.within("lanes", o.Lanes, 1, transport.MaxLanes)
	if len(o.Servers) > 0 && !slices.ContainsFunc(o.Servers, Server.secure) {
		for _, name := range []string{"pin", "ca", "tls-cert", "tls-key"} {
			if c.from.Given(name) && !(name == "tls-key" && c.said["tls-cert"]) {
				c.about(name, "--%s is for wss://, and the URL is %s", name, o.Servers[0].URL)
			}
		}
	}
	if (o.TLSCert == "") != (o.TLSKey == "") && !c.said["tls-cert"] && !c.said["tls-key"] {
		c.about(c.given("tls-cert", "tls-key"), "--tls-cert and --tls-key go together: give both")
	}
}

func headers(p *[]Header) value {
	return list[Header]{p, nil, func(s string) (Header, error) {
		k, v, ok := strings.Cut(s, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		switch {
		case !ok || k == "":
			return Header{}, fmt.Errorf(" %q is not K=V", s)
		case !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v):
			return Header{}, fmt.Errorf(" %s: that is no header of HTTP", strconv.Quote(k))
		case ownHeader(k):
			return Header{}, fmt.Errorf(" %s: the program sets that one itself", k)
		}
		return Header{k, v}, nil
	}, func(h Header) string { return h.Name + "=…" }} // it may be a password
}

// ownHeader reports whether a header of the request is the program's own: another value would be overwritten, or break it.
func ownHeader(name string) bool {
	switch name = http.CanonicalHeaderKey(name); name {
	case "Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Trailer", auth.TokenHeader:
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-")
}

// ParseAddress reads the address that a client is to have. The error goes on behind the setting's name.
func ParseAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf(" %s is not an IPv4 address", text)
	}
	if a.As4()[3]%2 == 0 { // whatever the network is, see lease.PairOf
		return netip.Addr{}, fmt.Errorf(" %s: no client can have that, for pairs of addresses begin with an odd one", text)
	}
	return a, nil
}

func clientAddress(p *netip.Addr) value {
	return single[netip.Addr]{p: p, k: Text, parse: ParseAddress, format: func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}}
}

func acceptedNetworks(p *[]netip.Prefix) value {
	return list[netip.Prefix]{p, byCommas, func(s string) (netip.Prefix, error) {
		n, err := netip.ParsePrefix(s)
		switch {
		case err != nil || !n.Addr().Is4():
			return n, fmt.Errorf(" %s is not an IPv4 prefix like 10.1.1.0/24", s)
		case n != n.Masked():
			return n, fmt.Errorf(" %s has host bits set, its prefix is %s", s, n.Masked())
		case n.Bits() < grant.MinBits || n.Bits() > grant.MaxBits:
			return n, fmt.Errorf(" %s: no server can have that, networks are from /%d to /%d", s, grant.MinBits, grant.MaxBits)
		case slices.ContainsFunc(neverRouted(), n.Overlaps):
			return n, fmt.Errorf(" %s: these are addresses that no network routes", s)
		}
		return n, nil
	}, netip.Prefix.String}
}

// neverRouted returns what can be no network whatever a person says: "this network" and loopback (RFC 1122 section
// 3.2.1.3), link-local (RFC 3927), multicast (RFC 5771) and the reserved rest (RFC 1112 section 4).
func neverRouted() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	}
}

func pins(p *certs.Pins) value {
	return list[certs.Pin]{(*[]certs.Pin)(p), byCommas, func(s string) (certs.Pin, error) {
		pin, err := certs.ParsePin(s)
		if err != nil {
			return pin, fmt.Errorf(" %w", err)
		}
		return pin, nil
	}, certs.Pin.String}
}

// noProxy is the value of proxy that goes without one, whatever the environment says.
const noProxy = "none"

func proxy(p *Proxy) value {
	password := func(p Proxy) bool { return p.URL != nil && p.URL.User != nil }
	return single[Proxy]{p: p, k: Text, secret: password, format: Proxy.text, parse: func(s string) (Proxy, error) {
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

// text returns the proxy as the setting takes it, without a password.
func (p Proxy) text() string {
	switch {
	case p.None:
		return noProxy
	case p.URL != nil:
		return p.URL.Redacted()
	}
	return ""
}
