package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"tunnel/auth"
	"tunnel/config/commands"
	"tunnel/config/location"
	"tunnel/config/setting"
	"tunnel/lease"
	"tunnel/transport"
)

// LeastMemory is the smallest MaxMemory, in bytes: a hub with a few clients takes about half of it.
const LeastMemory = 32 << 20

// Serve is the configuration of `tunnel serve`. DefaultServe has the defaults.
type Serve struct {
	Common
	commands.Commands

	// Listen is [HOST]:PORT, see location.Listen; default :8443.
	Listen string
	// Freebind listens also on an address that the machine does not have yet.
	Freebind bool
	// Path is that of the WebSocket; default /ws.
	Path string
	// InsecureNoAuth admits every client.
	InsecureNoAuth bool
	// PingInterval is the time between signs of life; default 20 s.
	PingInterval time.Duration
	// Network is the private network, IPv4; default 10.1.1.0/24.
	Network netip.Prefix
	// ClientToClient lets clients reach each other.
	ClientToClient bool
	// PushRoute has the networks behind this machine that all clients may reach.
	PushRoute []netip.Prefix
	// Masquerade gives what clients send to elsewhere by this machine its address, and lets them
	// reach public addresses. With MasqueradeOnly it is only what they send to these networks, and
	// they reach no more.
	Masquerade     bool
	MasqueradeOnly []netip.Prefix
	// DNS has the DNS servers that clients are told, DNSDomain the domains that these know, in lower
	// case.
	DNS       []netip.Addr
	DNSDomain []string

	// Plain speaks ws:// without TLS.
	Plain bool
	// TLSCert and TLSKey are the PEM files of the certificate. Without them the server has a key of
	// its own, or uses ACME.
	TLSCert, TLSKey string
	// ClientCA is the PEM file of the authorities of clients' certificates; "" demands none.
	ClientCA string
	// Public is where clients reach the server; the zero HostPort stands for a guess.
	Public location.HostPort
	// ACME has the domains of the certificate, in lower case; without any there is no ACME.
	ACME []string
	// ACMEEmail is for the authority's mail.
	ACMEEmail string
	// ACMEDirectory is the URL of the authority; "" is Let's Encrypt.
	ACMEDirectory string
	// ACMECA is the PEM file of the roots for the authority's HTTPS; "" is the system's.
	ACMECA string

	// MaxConnections bounds all connections; default 20000, 0 is no limit.
	MaxConnections int
	// MaxPerAddress bounds those of an IPv4 address or IPv6 /64; default 256, 0 is no limit.
	MaxPerAddress int
	// TrustedProxy has the proxies whose X-Forwarded-For is believed.
	TrustedProxy []netip.Prefix
	// MaxSessions bounds the clients of one token; default 8, 0 is no limit.
	MaxSessions int
	// LeaseHold is the time for which no other client can request an address; default
	// lease.DefaultHold.
	LeaseHold time.Duration
	// MaxMemory is in bytes; 0 is a quarter of the available memory.
	MaxMemory int64
	// MaxLanes bounds the connections of one client, 1 to transport.MaxLanes; default 4.
	MaxLanes int

	// Web is where the web page is, see location.Listen; "" is nowhere.
	Web string
	// AuditLog is the file of the audit log, or AuditJournal; "" is none. AuditLogSize is the size
	// from which on the file is rotated, in bytes; default 10 MiB, 0 is never.
	AuditLog     string
	AuditLogSize int64
}

// DefaultServe returns the defaults.
func DefaultServe() *Serve {
	s := &Serve{
		Common: defaultCommon(), Listen: ":8443", Path: transport.DefaultPath,
		PingInterval: 20 * time.Second, Network: netip.MustParsePrefix("10.1.1.0/24"),
		MaxConnections: 20000, MaxPerAddress: 256, MaxSessions: 8,
		LeaseHold: lease.DefaultHold, MaxLanes: 4, AuditLogSize: defaultAuditSize,
	}
	s.MTU, s.Qlen = 1400, 100
	return s
}

// Settings is the table of serve's settings, bound to s.
func (s *Serve) Settings() []*setting.Setting {
	return slices.Concat(s.serverSettings(), s.tlsSettings(), s.networkSettings(),
		s.limitSettings(), s.auditSettings(), s.Commands.Settings(),
		s.settings(), []*setting.Setting{s.webSetting()})
}

func (s *Serve) serverSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "listen", Category: setting.Server, Value: setting.String(&s.Listen),
			Usage: "`ADDRESS` to listen on, [HOST]:PORT; HOST is an IP address",
			More: "HOST is an address of this machine, or `localhost` (127.0.0.1); no other " +
				"name. Without it, all addresses"},
		{Name: "freebind", Category: setting.Server, Value: setting.Bool(&s.Freebind),
			Usage: "listen also on an address that this machine does not have yet, as at boot",
			More:  "Or on a virtual address that moves between machines (IP_FREEBIND)"},
		{Name: "path", Category: setting.Server, Value: setting.String(&s.Path),
			Usage: "`PATH` of the WebSocket; all others are answered 404",
			More:  "`connect` takes it from the URL"},
		{Name: "insecure-no-auth", Category: setting.Server, Value: setting.Bool(&s.InsecureNoAuth),
			Usage: "admit every client that can reach the port, without a token"},
		{Name: "ping-interval", Category: setting.Server, Value: setting.Duration(&s.PingInterval),
			Usage: "`TIME` between signs of life; a side that is silent for two of them is gone"},
	}
}

func (s *Serve) tlsSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "plain", Category: setting.Server, Value: setting.Bool(&s.Plain),
			Usage: "speak ws:// without TLS, behind a proxy that ends TLS"},
		{Name: "tls-cert", Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&s.TLSCert),
			Usage: "`FILE` with the certificate chain, PEM; read again when it changes. Without " +
				"it the server creates a key of its own",
			More: "It creates that key once, and prints the command that joins another machine"},
		{Name: "tls-key", Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&s.TLSKey), Usage: "`FILE` with the certificate's key, PEM"},
		{Name: "client-ca", Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&s.ClientCA),
			Usage: "demand a certificate of each client, from the authorities in `FILE`, PEM; " +
				"read again when it changes",
			More: "In addition to the token; `token create --cert-cn NAME` binds a token to a " +
				"certificate"},
		{Name: "public", Category: setting.Server, Value: location.Value(&s.Public),
			Usage: "`HOST[:PORT]` under which clients reach this server, if this machine cannot " +
				"know it",
			More: "The printed command and the server's own certificate have it. Needed behind " +
				"NAT, where the guess is wrong"},
		{Name: "acme", Category: setting.Server, Value: domains(&s.ACME),
			Usage: "get the certificate for `DOMAIN` by ACME, agreeing to the authority's terms; " +
				"may be given several times",
			More: "The authority connects to port 443 of the domain"},
		{Name: "acme-email", Category: setting.Server, Value: setting.String(&s.ACMEEmail),
			Usage: "`ADDRESS` for the ACME authority's mail"},
		{Name: "acme-directory", Category: setting.Server, Value: acmeDirectory(&s.ACMEDirectory),
			Usage: "`URL` of the ACME authority, instead of Let's Encrypt"},
		{Name: "acme-ca", Category: setting.Server, Input: true, Path: true,
			Value: setting.String(&s.ACMECA),
			Usage: "`FILE` with the roots to trust for the ACME authority's HTTPS, PEM"},
	}
}

func (s *Serve) networkSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "network", Category: setting.Network, Value: serveNetwork(&s.Network),
			Usage: "private network, an IPv4 `PREFIX`", More: "A /29 or larger"},
		{Name: "client-to-client", Reload: setting.AtOnce, Category: setting.Network,
			Value: setting.Bool(&s.ClientToClient),
			Usage: "let clients reach each other",
			More:  "Without it they cannot, whatever `ip_forward` says"},
		{Name: "push-route", Reload: setting.AtOnce, Trusted: true,
			Category: setting.Network, Value: pushedRoutes(&s.PushRoute),
			Usage: "let all clients reach the network `PREFIX` behind this machine; may be given " +
				"several times",
			More: "`token create --push-route` and `token set --push-route` do it for the clients " +
				"of one token. This machine forwards packets between the tunnel and the interface " +
				"that leads there. Hosts there need a route back, which a line in the log names, or " +
				"--masquerade"},
		{Name: "masquerade", Reload: setting.AtOnce, Trusted: true,
			Category: setting.Network, Value: setting.Bool(&s.Masquerade),
			Usage: "give what clients send to networks behind this machine its own address, and let " +
				"them reach public addresses, too",
			More: "Needs nftables. Other private networks, this machine's own addresses and " +
				"169.254.0.0/16 still need --push-route"},
		{Name: "masquerade-only", Reload: setting.AtOnce, Trusted: true, Category: setting.Network,
			Value: masqueradedRoutes(&s.MasqueradeOnly),
			Usage: "with --masquerade, only what clients send to the network `PREFIX`; may be given " +
				"several times",
			More: "Public addresses need --push-route then"},
		{Name: "dns", Reload: setting.AtOnce, Category: setting.Network, Value: dnsServers(&s.DNS),
			Usage: "tell clients of the DNS server `ADDRESS`; may be given several times, best first",
			More: "`token create --dns` and `token set --dns` replace it for the clients of one " +
				"token. Which names clients ask it is their own decision"},
		{Name: "dns-domain", Reload: setting.AtOnce,
			Category: setting.Network, Value: dnsDomains(&s.DNSDomain),
			Usage: "tell clients that these DNS servers know the names in `DOMAIN`; may be given " +
				"several times",
			More: "`token create --dns-domain` and `token set --dns-domain` add to it"},
		{Name: "mtu", Category: setting.Network, Value: setting.Int(&s.MTU),
			Usage: "`BYTES` of the largest packet, also for clients"},
		{Name: "qlen", Category: setting.Network, Value: setting.Int(&s.Qlen),
			Usage: "transmit queue length in `PACKETS`, also for clients"},
		{Name: "lease-hold", Category: setting.Network, Value: setting.Duration(&s.LeaseHold),
			Usage: "`TIME` for which the address of a client that has left cannot be requested " +
				"by another, at least " + lease.Rest.String()},
	}
}

func (s *Serve) limitSettings() []*setting.Setting {
	return []*setting.Setting{
		{Name: "max-connections", Reload: setting.AtOnce,
			Category: setting.Server, Value: setting.Int(&s.MaxConnections),
			Usage: "largest `NUMBER` of connections at once; 0 is no limit"},
		{Name: "max-per-address", Reload: setting.AtOnce,
			Category: setting.Server, Value: setting.Int(&s.MaxPerAddress),
			Usage: "largest `NUMBER` of connections at once from one IPv4 address or IPv6 /64; 0 " +
				"is no limit. Those of this machine are not counted"},
		{Name: "trusted-proxy", Category: setting.Server, Value: proxyPrefixes(&s.TrustedProxy),
			Usage: "believe X-Forwarded-For from this `PREFIX` or address; may be repeated, or " +
				"have commas",
			More: "Its right-most address that is not such a proxy is the client's, for limits, " +
				"bans and the log"},
		{Name: "max-sessions", Reload: setting.AtOnce,
			Category: setting.Server, Value: setting.Int(&s.MaxSessions),
			Usage: "largest `NUMBER` of clients that one token admits at once; 0 is no limit. " +
				"token create --max-sessions overrides it",
			More: "It also bounds how often a token logs in, and, at twice the number, the " +
				"addresses that its clients keep while they are away"},
		{Name: "max-memory", Category: setting.Server, OrNumber: true, Value: setting.Size(&s.MaxMemory),
			Default: "a quarter of the machine's or the cgroup's, at least 32M",
			Usage: "most memory to use, a `SIZE` like 256M or 1G; half of it is for queued " +
				"packets, and the clients with the largest queues lose packets first",
			More: "At least `32M`. A smaller `GOMEMLIMIT` counts as well"},
		{Name: "max-lanes", Reload: setting.AtOnce,
			Category: setting.Server, Value: setting.Int(&s.MaxLanes),
			Usage: "largest `NUMBER` of connections that one client may have at once, 1 to 16",
			More:  "Each counts against the limits of connections"},
	}
}

// check notes all problems in c. It reads no file and resolves no name.
func (s *Serve) check(c *setting.Checker) {
	s.Common.check(c, false)
	if err := lease.CheckNetwork(s.Network); err != nil {
		c.Wrong("network", ": %v: choose another --network", err)
	}
	s.checkPushRoute(c)
	s.checkMasquerade(c)
	s.checkDNS(c)
	if !strings.HasPrefix(s.Path, "/") {
		c.Wrong("path", " %s does not begin with /", s.Path)
	}
	if d := s.PingInterval; d < transport.MinKeepalive || d > transport.MaxKeepalive {
		c.Wrong("ping-interval", " %v is not within %v to %v", d, transport.MinKeepalive,
			transport.MaxKeepalive)
	}
	for name, n := range map[string]int{"max-connections": s.MaxConnections,
		"max-per-address": s.MaxPerAddress} {
		if n < 0 {
			c.Wrong(name, " %d is less than 0", n)
		}
	}
	for _, p := range s.TrustedProxy {
		if p.Bits() == 0 {
			c.Wrong("trusted-proxy",
				" %s trusts all addresses, so that any client could claim any address", p)
		}
	}
	c.Within("max-sessions", s.MaxSessions, 0, auth.MaxSessions)
	if s.LeaseHold < lease.Rest {
		c.Wrong("lease-hold", " %v is less than %v, the least time before an address is reassigned",
			s.LeaseHold, lease.Rest)
	}
	c.Within("max-lanes", s.MaxLanes, 1, transport.MaxLanes)
	if s.MaxMemory != 0 && s.MaxMemory < LeastMemory {
		c.Wrong("max-memory", " %s is too little: give %s at least", setting.SizeText(s.MaxMemory),
			setting.SizeText(LeastMemory))
	}
	if s.MaxMemory > math.MaxInt/2 {
		c.Wrong("max-memory", " %s is more than this machine can address", setting.SizeText(s.MaxMemory))
	}
	if _, err := location.Listen(s.Listen); err != nil {
		c.Wrong("listen", "%v", err)
	}
	if s.InsecureNoAuth && (s.Token != "" || s.TokenFile != "") {
		c.About("insecure-no-auth", "--insecure-no-auth contradicts the token: leave one out")
	}
	s.checkTLS(c)
	s.checkWeb(c)
	s.checkAudit(c)
}

func (s *Serve) checkTLS(c *setting.Checker) {
	given := s.TLSCert != "" || s.TLSKey != ""
	pair := c.Given("tls-cert", "tls-key")
	switch {
	case s.Plain && given:
		c.About("plain", "--plain contradicts --tls-cert and --tls-key: leave one out")
	case s.Plain && len(s.ACME) > 0:
		c.About("plain", "--plain contradicts --acme: leave one out")
	case s.Plain && s.ClientCA != "":
		c.About("plain", "--plain contradicts --client-ca: without TLS there are no certificates")
	case given && len(s.ACME) > 0:
		c.About("acme", "--acme contradicts --tls-cert and --tls-key: leave one out")
	case (s.TLSCert == "") != (s.TLSKey == ""):
		c.About(pair, "--tls-cert and --tls-key go together: give both")
	}
	for name, value := range map[string]string{"acme-email": s.ACMEEmail,
		"acme-directory": s.ACMEDirectory, "acme-ca": s.ACMECA} {
		if value != "" && len(s.ACME) == 0 {
			c.About(name, "--%s is for --acme DOMAIN: give that too", name)
		}
	}
}

func serveNetwork(p *netip.Prefix) setting.Value {
	return setting.Single[netip.Prefix]{P: p, Format: netip.Prefix.String,
		Parse: func(s string) (netip.Prefix, error) {
			n, err := netip.ParsePrefix(s)
			if err != nil {
				return n, fmt.Errorf(" %s is not a prefix like 10.1.1.0/24", s)
			}
			return n, nil
		}}
}

func proxyPrefixes(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas, Format: netip.Prefix.String,
		Parse: func(s string) (netip.Prefix, error) {
			if a, err := netip.ParseAddr(s); err == nil {
				a = a.Unmap().WithZone("")
				return netip.PrefixFrom(a, a.BitLen()), nil
			}
			prefix, err := netip.ParsePrefix(s)
			if err != nil || prefix.Addr().Is4In6() {
				return prefix,
					fmt.Errorf(" %s is neither a prefix like 192.0.2.0/24 nor an address", s)
			}
			return prefix, nil
		}}
}

func domains(p *[]string) setting.Value {
	return setting.Several[string]{P: p, Split: setting.ByCommas, Format: strings.Clone,
		Parse: func(s string) (string, error) {
			_, notName := netip.ParseAddr(s)
			if notName == nil || !strings.Contains(strings.Trim(s, "."), ".") ||
				strings.ContainsFunc(s,
					location.NotInName) {
				return "", fmt.Errorf(" %s is not a full name of DNS, in ASCII and without *", s)
			}
			return strings.ToLower(strings.TrimSuffix(s, ".")), nil
		}}
}

func acmeDirectory(p *string) setting.Value {
	readable := func(s string) string {
		if u, err := url.Parse(s); err == nil && s != "" {
			return transport.Readable(u)
		}
		return ""
	}
	return setting.Single[string]{P: p, Format: readable,
		Secret: func(s string) bool { return s != readable(s) },
		Parse: func(s string) (string, error) {
			switch u, err := url.Parse(s); {
			case err != nil:
				return "", errors.New(" is not a URL")
			case u.Scheme != "https" || u.Host == "":
				return "", fmt.Errorf(" %s is not an https:// URL", readable(s))
			}
			return s, nil
		}}
}
