package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"tunnel/transport"
)

// otherPort is where a server listens by default, which is tried when port 443 of a HOST has none.
const otherPort = "8443"

// serverURLs is the setting of servers. One that names no port may stand for two.
func serverURLs(p *[]Server) value { return urls{p} }

type urls struct{ p *[]Server }

func (v urls) kind() Kind { return List }

func (v urls) texts() (all []string) {
	for _, s := range *v.p {
		all = append(all, s.URL.String())
	}
	return all
}

func (v urls) set(texts []string) error {
	var all []Server
	implied := map[string]bool{} // by URL: whether nobody has written it
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
				return fmt.Errorf("%s is given twice: each further URL is another server", u)
			}
		}
	}
	*v.p = all
	return nil
}

// serverURL returns the URLs that a person means by text, best first: wss://HOST[:PORT][/PATH] and ws://… as they are,
// https://… and HOST[:PORT][/PATH] with wss. A single word is no HOST, for a mistyped flag or command would be given the
// token.
func serverURL(text string) ([]*url.URL, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = "", text
		if a, err := netip.ParseAddr(text); err == nil && a.Is6() {
			rest = "[" + text + "]"
		}
		if strings.HasPrefix(rest, "-") || rest != "localhost" && !strings.ContainsAny(rest, ".:") {
			return nil, fmt.Errorf("%q does not begin with wss:// or https://, and is no full host name", text)
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
		secure := *u
		secure.Scheme = "https"
		if secure.Path == transport.DefaultPath {
			secure.Path = ""
		}
		return nil, fmt.Errorf("%q does not begin with ws:// or wss://, and would send the token in clear: use %s", text, &secure)
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
