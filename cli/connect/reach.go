package connect

import (
	"cmp"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"

	"tunnel/config"
	"tunnel/transport"
)

// proxies returns the function that selects the proxy for a server.
func proxies(told config.Proxy) transport.ProxyFunc {
	switch {
	case told.None:
		return nil
	case told.URL != nil:
		return func(*url.URL) (*url.URL, error) { return told.URL, nil }
	}
	return environmentProxies()
}

// environmentProxies uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and ALL_PROXY where the first two
// are not set.
func environmentProxies() transport.ProxyFunc {
	config := httpproxy.FromEnvironment()
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	config.HTTPProxy = cmp.Or(config.HTTPProxy, all)
	config.HTTPSProxy = cmp.Or(config.HTTPSProxy, all)
	return config.ProxyFunc()
}
