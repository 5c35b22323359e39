package config

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/transport"
)

// LeastMemory is the least MaxMemory, in bytes: a hub with a few clients takes about half of it.
const LeastMemory = 32 << 20

// Serve is what `tunnel serve` is told. DefaultServe has the defaults.
type Serve struct {
	Common

	Listen         string         // [HOST]:PORT; default :8443. See ListenAddress
	Freebind       bool           // listen also on an address that the machine does not have yet
	Path           string         // of the WebSocket; default /ws
	InsecureNoAuth bool           // let everybody in
	PingInterval   time.Duration  // between signs of life; default 20 s
	Network        netip.Prefix   // the private network, IPv4; default 10.1.1.0/24
	ClientToClient bool           // let clients reach each other
	Plain          bool           // ws:// without TLS
	TLSCert        string         // and TLSKey: PEM files of the certificate; "" for a key of the server's own, or ACME
	TLSKey         string         //
	ClientCA       string         // PEM file of the authorities of clients' certificates; "" demands none
	Public         HostPort       // where clients reach the server; zero for a guess
	ACME           []string       // domains of the certificate, in lower case; none for no ACME
	ACMEEmail      string         // for the authority's mail
	ACMEDirectory  string         // URL of the authority; "" for Let's Encrypt
	ACMECA         string         // PEM file of whom to trust for the authority's HTTPS; "" for the system's
	MaxConnections int            // at once; default 20000, 0 for no limit
	MaxPerAddress  int            // at once from an IPv4 address or IPv6 /64; default 256, 0 for no limit
	TrustedProxy   []netip.Prefix // whose X-Forwarded-For is believed
	MaxSessions    int            // clients that one token lets in at once; default 8, 0 for no limit
	LeaseHold      time.Duration  // for which an address cannot be asked for; default lease.DefaultHold
	MaxMemory      int64          // bytes; 0 for a quarter of what there is
	MaxLanes       int            // connections of one client, 1 to transport.MaxLanes; default 4
}

// DefaultServe returns the defaults.
func DefaultServe() *Serve {
	s := &Serve{
		Common: defaultCommon(), Listen: ":8443", Path: transport.DefaultPath, PingInterval: 20 * time.Second,
		Network: netip.MustParsePrefix("10.1.1.0/24"), MaxConnections: 20000, MaxPerAddress: 256, MaxSessions: 8,
		LeaseHold: lease.DefaultHold, MaxLanes: 4,
	}
	s.MTU, s.Qlen = 1400, 100
	return s
}

// Settings is the table of what serve can be told, bound to s.
func (s *Serve) Settings() []*Setting {
	return append([]*Setting{
		{Name: "listen", Category: server, Usage: "`ADDRESS` to listen on, [HOST]:PORT; HOST is an IP address", value: text(&s.Listen),
			More: "HOST is an address of this machine, or `localhost` (127.0.0.1); no other name. Without it, all of them"},
		{Name: "freebind", Category: server, value: onOff(&s.Freebind),
			Usage: "listen also on an address that this machine does not have yet, as at boot",
			More:  "Or with a virtual address that moves (IP_FREEBIND)"},
		{Name: "path", Category: server, Usage: "`PATH` of the WebSocket; all else is 404", value: text(&s.Path),
			More: "`connect` takes it from the URL"},
		{Name: "insecure-no-auth", Category: server, Usage: "let everybody in who can reach the port", value: onOff(&s.InsecureNoAuth)},
		{Name: "ping-interval", Category: server, value: duration(&s.PingInterval),
			Usage: "`TIME` between signs of life; a side that is silent for two of them is gone"},
		{Name: "network", Category: network, Usage: "private network, an IPv4 `PREFIX`", More: "A /29 or larger", value: serveNetwork(&s.Network)},
		{Name: "client-to-client", Category: network, Usage: "let clients reach each other", value: onOff(&s.ClientToClient),
			More: "Off means off, whatever `ip_forward` says"},
		{Name: "mtu", Category: network, Usage: "`BYTES` of the largest packet, also for clients", value: number(&s.MTU)},
		{Name: "qlen", Category: network, Usage: "transmit queue length in `PACKETS`, also for clients", value: number(&s.Qlen)},
		{Name: "plain", Category: server, Usage: "speak ws:// without TLS, for use behind a proxy that has it", value: onOff(&s.Plain)},
		{Name: "tls-cert", Category: server, Input: true, Path: true, value: text(&s.TLSCert),
			Usage: "`FILE` with the certificate chain, PEM; read again when it changes. Without it the server makes a key of its own",
			More:  "It makes that key once, and prints the line that joins another machine"},
		{Name: "tls-key", Category: server, Input: true, Path: true, Usage: "`FILE` with the certificate's key, PEM", value: text(&s.TLSKey)},
		{Name: "client-ca", Category: server, Input: true, Path: true, value: text(&s.ClientCA),
			Usage: "demand a certificate of each client, from the authorities in `FILE`, PEM; read again when it changes",
			More:  "Beside the token: `token create --cert-cn NAME` binds a token to one of them"},
		{Name: "public", Category: server, value: hostPort(&s.Public),
			Usage: "`HOST[:PORT]` under which clients reach this server, if it is not what this machine can see",
			More:  "It is what the printed line and the server's own certificate say. Needed behind NAT, where the guess is wrong"},
		{Name: "acme", Category: server, value: domains(&s.ACME),
			Usage: "get the certificate for `DOMAIN` by ACME, agreeing to the authority's terms; may be given several times",
			More:  "The authority comes to port 443 of the domain"},
		{Name: "acme-email", Category: server, Usage: "`ADDRESS` for the ACME authority's mail", value: text(&s.ACMEEmail)},
		{Name: "acme-directory", Category: server, Usage: "`URL` of the ACME authority, instead of Let's Encrypt", value: text(&s.ACMEDirectory)},
		{Name: "acme-ca", Category: server, Input: true, Path: true, value: text(&s.ACMECA),
			Usage: "`FILE` with the certificates to trust when talking to the ACME authority, PEM"},
		{Name: "max-connections", Category: server, Usage: "most connections at once, a `NUMBER`; 0 is no limit", value: number(&s.MaxConnections)},
		{Name: "max-per-address", Category: server, value: number(&s.MaxPerAddress),
			Usage: "most connections at once from one IPv4 address or IPv6 /64, a `NUMBER`; 0 is no limit. This machine's own are not counted"},
		{Name: "trusted-proxy", Category: server, value: proxyPrefixes(&s.TrustedProxy),
			Usage: "believe X-Forwarded-For from this `PREFIX` or address; may be repeated, or have commas",
			More:  "Its right-most address that is no such proxy is the client's, for limits, bans and the log"},
		{Name: "max-sessions", Category: server, value: number(&s.MaxSessions),
			Usage: "most clients that one token lets in at once, a `NUMBER`; 0 is no limit. token create --max-sessions goes before it",
			More:  "It bounds as well how often a token logs in and, twice as many, the addresses that its clients keep while they are away"},
		{Name: "lease-hold", Category: network, value: duration(&s.LeaseHold),
			Usage: "`TIME` for which an address that a client has left cannot be asked for by another, at least " + lease.Rest.String()},
		{Name: "max-memory", Category: server, Default: "a quarter of the machine's or the cgroup's, at least 32M", value: size(&s.MaxMemory),
			Usage: "most memory to take, a `SIZE` like 256M or 1G; half of it is for packets that wait, and the clients that have most waiting lose packets first",
			More:  "At least `32M`. A smaller `GOMEMLIMIT` counts as well"},
		{Name: "max-lanes", Category: server, value: number(&s.MaxLanes),
			Usage: "most connections that one client may have at once, a `NUMBER` from 1 to 16",
			More:  "Each counts for the limits of connections"},
	}, s.settings()...)
}

// Validate reports all that is wrong, as Errors. It reads no file and resolves no name.
func (s *Serve) Validate() error {
	c := newChecker(s.Settings(), s.From)
	s.check(c)
	return c.err()
}

func (s *Serve) origins() *Origins { return &s.From }

func (s *Serve) check(c *checker) {
	s.Common.check(c, false)
	if err := lease.CheckNetwork(s.Network); err != nil {
		c.wrong("network", ": %v: choose another --network", err)
	}
	if !strings.HasPrefix(s.Path, "/") {
		c.wrong("path", " %s does not begin with /", s.Path)
	}
	if d := s.PingInterval; d < transport.MinKeepalive || d > transport.MaxKeepalive {
		c.wrong("ping-interval", " %v is not within %v to %v", d, transport.MinKeepalive, transport.MaxKeepalive)
	}
	for name, n := range map[string]int{"max-connections": s.MaxConnections, "max-per-address": s.MaxPerAddress} {
		if n < 0 {
			c.wrong(name, " %d is less than 0", n)
		}
	}
	for _, p := range s.TrustedProxy {
		if p.Bits() == 0 {
			c.wrong("trusted-proxy", " %s trusts everybody, and everybody could claim any address", p)
		}
	}
	c.within("max-sessions", s.MaxSessions, 0, auth.MaxSessions)
	if s.LeaseHold < lease.Rest {
		c.wrong("lease-hold", " %v is less than %v: for so long no address changes hands", s.LeaseHold, lease.Rest)
	}
	c.within("max-lanes", s.MaxLanes, 1, transport.MaxLanes)
	if s.MaxMemory != 0 && s.MaxMemory < LeastMemory {
		c.wrong("max-memory", " %s is too little: give %s at least", sizeText(s.MaxMemory), sizeText(LeastMemory))
	}
	if s.MaxMemory > math.MaxInt/2 {
		c.wrong("max-memory", " %s is more than this machine can address", sizeText(s.MaxMemory))
	}
	if _, err := ListenAddress(s.Listen); err != nil {
		c.wrong("listen", "%v", err)
	}
	if s.InsecureNoAuth && (s.Token != "" || s.TokenFile != "") {
		c.about("insecure-no-auth", "--insecure-no-auth contradicts the token: leave one out")
	}
	s.checkTLS(c)
}

func (s *Serve) checkTLS(c *checker) {
	given := s.TLSCert != "" || s.TLSKey != ""
	pair := c.given("tls-cert", "tls-key")
	switch {
	case s.Plain && given:
		c.about("plain", "--plain contradicts --tls-cert and --tls-key: leave one out")
	case s.Plain && len(s.ACME) > 0:
		c.about("plain", "--plain contradicts --acme: leave one out")
	case s.Plain && s.ClientCA != "":
		c.about("plain", "--plain contradicts --client-ca: without TLS there are no certificates")
	case given && len(s.ACME) > 0:
		c.about("acme", "--acme contradicts --tls-cert and --tls-key: leave one out")
	case (s.TLSCert == "") != (s.TLSKey == ""):
		c.about(pair, "--tls-cert and --tls-key go together: give both")
	}
	for name, value := range map[string]string{"acme-email": s.ACMEEmail, "acme-directory": s.ACMEDirectory, "acme-ca": s.ACMECA} {
		if value != "" && len(s.ACME) == 0 {
			c.about(name, "--%s is for --acme DOMAIN: give that too", name)
		}
	}
	if u, err := url.Parse(s.ACMEDirectory); s.ACMEDirectory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		c.wrong("acme-directory", " %s is not an https:// URL", s.ACMEDirectory)
	}
}

// ListenAddress returns text, [HOST]:PORT, as an address that nobody needs to resolve: the process that listens may be root,
// which reads no strangers' bytes, so not those of a name server either. The error goes on behind the setting's name.
func ListenAddress(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", fmt.Errorf(" %s is not [HOST]:PORT", text)
	}
	// A number, or a name that this machine's /etc/services has.
	if _, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port); err != nil || port == "" {
		return "", fmt.Errorf(" %s: %q is no port, which is 0 to 65535", text, port)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" {
		return "", fmt.Errorf(" %s: %q is no address, and names are not resolved: give one of this machine's "+
			"(`ip addr`), or none for all", text, host)
	}
	return net.JoinHostPort(host, port), nil
}

func serveNetwork(p *netip.Prefix) value {
	return single[netip.Prefix]{p: p, k: Text, format: netip.Prefix.String, parse: func(s string) (netip.Prefix, error) {
		n, err := netip.ParsePrefix(s)
		if err != nil {
			return n, fmt.Errorf(" %s is not a prefix like 10.1.1.0/24", s)
		}
		return n, nil
	}}
}

func proxyPrefixes(p *[]netip.Prefix) value {
	return list[netip.Prefix]{p, byCommas, func(s string) (netip.Prefix, error) {
		if a, err := netip.ParseAddr(s); err == nil {
			a = a.Unmap().WithZone("")
			return netip.PrefixFrom(a, a.BitLen()), nil
		}
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix.Addr().Is4In6() {
			return prefix, fmt.Errorf(" %s is neither a prefix like 192.0.2.0/24 nor an address", s)
		}
		return prefix, nil
	}, netip.Prefix.String}
}

func domains(p *[]string) value {
	return list[string]{p, byCommas, func(s string) (string, error) {
		_, notName := netip.ParseAddr(s)
		if notName == nil || !strings.Contains(strings.Trim(s, "."), ".") || strings.ContainsFunc(s, notInName) {
			return "", fmt.Errorf(" %s is not a full name of DNS, in ASCII and without *", s)
		}
		return strings.ToLower(strings.TrimSuffix(s, ".")), nil
	}, strings.Clone}
}

// notInName reports whether a character is in no name of a host.
func notInName(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

func size(p *int64) value {
	return single[int64]{p: p, k: Text, format: givenSize, parse: func(s string) (int64, error) {
		if s == "" {
			return 0, nil
		}
		n, err := ParseSize(s)
		if err != nil {
			return 0, fmt.Errorf(" %s is not a size like 256M or 1G", s)
		}
		return max(n, 1), nil // 0 is not "not given": it is too little
	}}
}

// givenSize returns a size as text, "" for none.
func givenSize(n int64) string {
	if n == 0 {
		return ""
	}
	return sizeText(n)
}
