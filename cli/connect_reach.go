package cli

import (
	"cmp"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/net/http/httpproxy"

	"tunnel/client"
	"tunnel/netwatch"
	"tunnel/transport"
)

const flagProxy = "proxy"

// noProxy is the value of --proxy that goes without one, whatever the environment says.
const noProxy = "none"

// reachFlags returns the flags about the way to the server.
func reachFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagProxy, Category: categoryServer, EnvVars: env(flagProxy), Usage: "`URL` of the proxy to go through, [http|https|socks5|socks5h]://[USER:PASSWORD@]HOST:PORT, or none, instead of what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say; other users of this machine may see a password in it, better use TUNNEL_PROXY"},
	}
}

// serverURLs returns the servers in the order in which they were given, at least one.
func serverURLs(c *cli.Context) ([]*url.URL, error) {
	texts := c.Args().Slice()
	if len(texts) == 0 {
		texts = strings.Fields(os.Getenv("TUNNEL_URL"))
	}
	if len(texts) == 0 {
		return nil, usage("connect needs the server's URL: tunnel connect wss://HOST[:PORT][/PATH]")
	}
	var urls []*url.URL
	seen := map[string]bool{}
	for _, text := range texts {
		u, err := transport.ParseURL(text)
		if err != nil {
			return nil, usage("%w", err)
		}
		if seen[u.String()] {
			return nil, usage("%s is given twice: each further URL is another server", u)
		}
		seen[u.String()] = true
		urls = append(urls, u)
	}
	return urls, nil
}

// secured returns the first of urls that has TLS, or the first of all.
func secured(urls []*url.URL) *url.URL {
	for _, u := range urls {
		if u.Scheme == "wss" {
			return u
		}
	}
	return urls[0]
}

// otherDialers returns the ways to the servers behind the first, which are like that to the first.
func otherDialers(c *cli.Context, first *transport.Dialer) ([]*transport.Dialer, error) {
	urls, err := serverURLs(c)
	if err != nil {
		return nil, err
	}
	var others []*transport.Dialer
	for _, u := range urls[1:] {
		d := *first
		d.URL = u
		others = append(others, &d)
	}
	return others, nil
}

// proxies returns which proxy leads to a server.
func proxies(c *cli.Context) (transport.ProxyFunc, error) {
	switch text := c.String(flagProxy); text {
	case "":
		return environmentProxies(), nil
	case noProxy:
		return nil, nil
	default:
		u, err := transport.ParseProxy(text)
		if err != nil {
			return nil, usage("--%s: %w", flagProxy, err)
		}
		return func(*url.URL) (*url.URL, error) { return u, nil }, nil
	}
}

// environmentProxies is what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say, and ALL_PROXY where the first two say nothing.
func environmentProxies() transport.ProxyFunc {
	config := httpproxy.FromEnvironment()
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	config.HTTPProxy = cmp.Or(config.HTTPProxy, all)
	config.HTTPSProxy = cmp.Or(config.HTTPSProxy, all)
	return config.ProxyFunc()
}

// watchNetwork returns what tells of changes of this machine's network; nil, which tells of none, where that is not
// allowed. A client then notices a change as it notices any connection that does not work any more.
func watchNetwork(log *slog.Logger) client.Network {
	w, err := netwatch.Open()
	if err != nil {
		log.Warn("changes of this machine's network are noticed late", "err", err)
		return nil
	}
	return w
}
