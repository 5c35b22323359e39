package cli

import (
	"cmp"
	"log/slog"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"

	"tunnel/client"
	"tunnel/config"
	"tunnel/netwatch"
	"tunnel/transport"
)

// proxies returns which proxy leads to a server.
func proxies(told config.Proxy) transport.ProxyFunc {
	switch {
	case told.None:
		return nil
	case told.URL != nil:
		return func(*url.URL) (*url.URL, error) { return told.URL, nil }
	}
	return environmentProxies()
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
	w, err := netwatch.Open(resolvConf, resolvedUplink)
	if err != nil {
		log.Warn("changes of this machine's network are noticed late", "err", err)
		return nil
	}
	return w
}
