package transport

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// checkHost reports whether a host can be looked up; the error is that it is no internationalised name (RFC 5891).
func checkHost(host string) error {
	if isASCII(host) {
		return nil
	}
	_, err := idna.Lookup.ToASCII(host)
	return err
}

// asciiHost returns a host as DNS, TLS and HTTP have it: an internationalised name in ASCII (xn--…, RFC 5891).
func asciiHost(host string) string {
	if isASCII(host) {
		return host // as it is: the rules for lookups would refuse an underscore
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	return host // ParseURL and ParseProxy have checked it
}

// escapeZone returns a URL with the zone of its address as url.Parse reads it, behind %25 (RFC 6874), where a person has
// written [fe80::1%eth0] as everywhere else.
func escapeZone(s string) string {
	before, rest, found := strings.Cut(s, "%")
	if at := strings.LastIndex(before, "://["); !found || at < 0 || strings.ContainsAny(before[at+len("://"):], "]/?#") ||
		strings.HasPrefix(rest, "25") {
		return s
	}
	return before + "%25" + rest
}

// peerHost returns the host of u as the other side knows it: in ASCII, and an address without its zone, which has a
// meaning on this machine only (RFC 4007 section 6).
func peerHost(u *url.URL) string {
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return a.WithZone("").String()
	}
	return asciiHost(u.Hostname())
}

// peerTarget returns host and port of u as the other side knows them.
func peerTarget(u *url.URL) string { return net.JoinHostPort(peerHost(u), port(u)) }

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}
