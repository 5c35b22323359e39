package location

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"tunnel/config/setting"
)

// A HostPort is a name or an address, and optionally a port.
type HostPort struct {
	Host, Port string
}

// ParseHostPort parses HOST or HOST:PORT; an IPv6 address may stand alone. "" is the zero HostPort.
// The error continues the setting's name.
func ParseHostPort(text string) (HostPort, error) {
	if text == "" {
		return HostPort{}, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return HostPort{Host: a.String()}, nil
	}
	host, port := text, ""
	var err error
	if strings.Contains(text, ":") {
		if host, port, err = net.SplitHostPort(text); err == nil {
			var n uint64
			if n, err = strconv.ParseUint(port, 10, 16); n == 0 {
				host = ""
			}
		}
	}
	_, notAddr := netip.ParseAddr(host)
	if err != nil || host == "" || notAddr != nil && strings.ContainsFunc(host, NotInName) {
		return HostPort{}, fmt.Errorf(" %s is not HOST or HOST:PORT", text)
	}
	return HostPort{host, port}, nil
}

// Value is the value of a setting that is a HostPort.
func Value(p *HostPort) setting.Value {
	return setting.Single[HostPort]{P: p, Parse: ParseHostPort, Format: func(h HostPort) string {
		if h.Port == "" {
			return h.Host
		}
		return net.JoinHostPort(h.Host, h.Port)
	}}
}

// NotInName reports whether a character cannot stand in the name of a host.
func NotInName(r rune) bool {
	return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') &&
		(r < 'A' || r > 'Z')
}
