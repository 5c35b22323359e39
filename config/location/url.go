// Package location has the settings that say where something is: a server, a listener, a name
// server and its domains.
package location

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tunnel/auth"
	"tunnel/config/setting"
	"tunnel/transport"
)

// otherPort is the default port of a server, tried when there is none on port 443 of a HOST.
const otherPort = "8443"

// A Server is one to join.
type Server struct {
	URL   *url.URL // ws or wss
	Guess bool     // the port is a guess: the same host as the server before, at its other port
}

// Secure reports whether the server is reached by TLS.
func (s Server) Secure() bool { return s.URL.Scheme == "wss" }

// Servers is the value of the servers' setting. A text without a port may stand for two servers.
func Servers(p *[]Server) setting.Value { return urls{p} }

type urls struct{ p *[]Server }

// Kind implements setting.Value.
func (v urls) Kind() setting.Kind { return setting.List }

// Texts implements setting.Value.
func (v urls) Texts() (all []string) {
	for _, s := range *v.p {
		all = append(all, transport.Readable(s.URL))
	}
	return all
}

// Masked implements setting.Masker.
func (v urls) Masked() bool {
	return slices.ContainsFunc(*v.p, func(s Server) bool { return transport.HasSecret(s.URL) })
}

// Equal implements setting.Value.
func (v urls) Equal(other setting.Value) bool {
	o, ok := other.(urls)
	return ok && slices.EqualFunc(*v.p, *o.p, func(a, b Server) bool {
		return a.URL.String() == b.URL.String() && a.Guess == b.Guess
	})
}

// Take implements setting.Value.
func (v urls) Take(other setting.Value) {
	if o, ok := other.(urls); ok {
		*v.p = *o.p
	}
}

// Set implements setting.Value.
func (v urls) Set(texts []string) error {
	var all []Server
	implied := map[string]bool{} // by URL: whether no text has named it
	for _, text := range texts {
		found, err := serverURL(text)
		if errors.Is(err, transport.ErrTokenInURL) {
			return fmt.Errorf("%w: use --token-file", err)
		}
		if err != nil {
			return err
		}
		for i, u := range found {
			was, there := implied[u.String()]
			switch {
			case !there:
				implied[u.String()] = i > 0
				all = append(all, Server{URL: u, Guess: i > 0})
			case i == 0 && !was:
				return fmt.Errorf("%s is given twice: each further URL is another server",
					transport.Readable(u))
			}
		}
	}
	*v.p = all
	return nil
}

// serverURL returns the URLs that text stands for, best first: wss://HOST[:PORT][/PATH] and ws://…
// as they are, https://… and HOST[:PORT][/PATH] with wss. A single word is not a HOST, whatever is
// behind it: a mistyped flag, command or scheme would be sent the token.
func serverURL(text string) ([]*url.URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
		if a, err := netip.ParseAddr(text); err == nil && a.Is6() {
			rest = "[" + text + "]"
		}
		switch u, err := transport.ParseURL("wss://" + rest); {
		case errors.Is(err, transport.ErrTokenInURL):
			return nil, err
		case strings.HasPrefix(rest, "-"), u != nil && !isFull(u.Hostname()),
			u == nil && !strings.ContainsAny(rest, ".:"):
			return nil, fmt.Errorf("%s does not begin with wss:// or https://, and is not a full "+
				"host name", word(text))
		}
	}
	switch scheme {
	case "https", "":
		scheme = "wss"
	case "http": // it would send the token in clear
		u, err := transport.ParseURL("wss://" + rest)
		if err != nil {
			return nil, err
		}
		if u.Path == transport.DefaultPath {
			u.Path = ""
		}
		without := strings.TrimPrefix(transport.Readable(u), "wss://")
		return nil, fmt.Errorf("%q does not begin with ws:// or wss://, and would send the token "+
			"in clear: use https://%s", "http://"+without, without)
	default:
		u, err := transport.ParseURL(text)
		return []*url.URL{u}, err
	}
	u, err := transport.ParseURL(scheme + "://" + rest)
	if err != nil || u.Port() != "" {
		return []*url.URL{u}, err
	}
	other := *u
	other.Host = net.JoinHostPort(u.Hostname(), otherPort)
	return []*url.URL{u, &other}, nil
}

// isFull reports whether host is an address, localhost, or a name with a dot in it.
func isFull(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.Contains(strings.TrimSuffix(host, "."), ".")
}

// word returns what stands in place of a URL for display: not if it may be a token, as one that
// belongs behind --token.
func word(text string) string {
	if len(text) < auth.MinTokenLen && !strings.Contains(text, "@") {
		return strconv.Quote(text)
	}
	return "a word of " + strconv.Itoa(len(text)) + " characters"
}
