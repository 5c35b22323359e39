package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// DefaultPath is the path of a URL without one.
const DefaultPath = "/ws"

// ErrTokenInURL is the error for a URL with a user or password.
var ErrTokenInURL = errors.New("a token in the URL would end up in logs")

// ParseURL reads the URL of a server: ws or wss, a host, perhaps a port and a path. Without a path
// it is DefaultPath. No error has the user, the password, the query or the fragment of the URL.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(escapeZone(s))
	if err != nil {
		return nil, unreadable(s, err)
	}
	shown := Readable(u)
	if host := u.Hostname(); host != "" && checkHost(host) != nil {
		// not quoted: what stands in its place may be a secret
		return nil, errors.New("the URL names no host: what stands there is not a name of DNS")
	}
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("%q does not begin with ws:// or wss://", shown)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q names no host", shown)
	case u.User != nil:
		return nil, ErrTokenInURL
	case u.Fragment != "":
		return nil, fmt.Errorf("%q has a fragment (#…), which no server sees", shown)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q: port %s is not within 1 to 65535", shown, port)
		}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = DefaultPath
	}
	return u, nil
}

// ParseProxy reads the URL of a proxy: http, https, socks5 or socks5h (which lets the proxy resolve
// the server's name), a host, perhaps a port, and perhaps a user and a password. Without a scheme
// it is http. No error has the password.
func ParseProxy(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(escapeZone(s))
	switch {
	case err != nil: // the error would have the text, and the text a password
		return nil,
			errors.New("it is not a URL; what is special in a user or password is written as %XX")
	case !slices.Contains([]string{"http", "https", SchemeSOCKS5, SchemeSOCKS5Name}, u.Scheme):
		return nil, fmt.Errorf("scheme %s is none of http, https, socks5, socks5h", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	case checkHost(u.Hostname()) != nil:
		return nil, errors.New("its host is no name of DNS")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil,
			fmt.Errorf("there is more behind the port than a proxy's URL has; a user or password " +
				"with / or # is written with %%2F or %%23")
	}
	if n, err := strconv.ParseUint(Port(u), 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("port %s is not within 1 to 65535", Port(u))
	}
	if password, _ := u.User.Password(); IsSOCKS(u) && u.User != nil &&
		!fitSOCKS(u.User.Username(), password) {
		return nil, errors.New("SOCKS takes a user and a password of 1 to 255 bytes each")
	}
	return u, nil
}

// The schemes of SOCKS5 proxies, as curl has them.
const (
	SchemeSOCKS5     = "socks5"  // the server's name is resolved here
	SchemeSOCKS5Name = "socks5h" // by the proxy
)

// IsSOCKS reports whether a proxy speaks SOCKS5.
func IsSOCKS(u *url.URL) bool { return u.Scheme == SchemeSOCKS5 || u.Scheme == SchemeSOCKS5Name }

// fitSOCKS reports whether a user and a password fit into a request of RFC 1929.
func fitSOCKS(user, password string) bool {
	return user != "" && len(user) <= 255 && len(password) <= 255
}

// Port returns the port of u, or the scheme's default.
func Port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "wss" || u.Scheme == "https":
		return "443"
	case IsSOCKS(u):
		return "1080"
	}
	return "80"
}

// checkHost returns nil if a host can be looked up: an address, or a name of letters, digits, - and
// _ between dots, or a valid internationalised one (RFC 5891).
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if isASCII(host) {
		for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
			if label == "" || strings.ContainsFunc(label, notInLabel) {
				return errors.New("not a name of DNS")
			}
		}
		return nil
	}
	_, err := idna.Lookup.ToASCII(host)
	return err
}

func notInLabel(r rune) bool {
	return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') &&
		(r < 'A' || r > 'Z')
}

// ASCIIHost returns a host as DNS, TLS and HTTP have it: an internationalised name in ASCII (xn--…,
// RFC 5891).
func ASCIIHost(host string) string {
	if isASCII(host) {
		return host // as it is: the rules for lookups would refuse an underscore
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return host // ParseURL and ParseProxy have checked it
}

// escapeZone returns a URL with the zone of its address as url.Parse reads it, behind %25 (RFC
// 6874), where a person has written [fe80::1%eth0] as everywhere else.
func escapeZone(s string) string {
	before, rest, found := strings.Cut(s, "%")
	if at := strings.LastIndex(before, "://["); !found || at < 0 ||
		strings.ContainsAny(before[at+len("://"):], "]/?#") ||
		strings.HasPrefix(rest, "25") {
		return s
	}
	return before + "%25" + rest
}

// PeerHost returns the host of u as the other side knows it: in ASCII, and an address without its
// zone, which has a meaning on this machine only (RFC 4007 section 6).
func PeerHost(u *url.URL) string {
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return a.WithZone("").String()
	}
	return ASCIIHost(u.Hostname())
}

// PeerTarget returns host and port of u as the other side knows them.
func PeerTarget(u *url.URL) string { return net.JoinHostPort(PeerHost(u), Port(u)) }

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
