package dialers

import (
	"fmt"
	"net/url"
	"os"

	"golang.org/x/net/http/httpproxy"

	"tunnel/config"
	"tunnel/transport"
	"tunnel/transport/dial"
)

// proxies returns the function that selects the proxy for a server.
func proxies(told config.Proxy) dial.ProxyFunc {
	switch {
	case told.None:
		return nil
	case told.URL != nil:
		return func(*url.URL) (*url.URL, error) { return told.URL, nil }
	}
	return environmentProxies()
}

// environmentProxies uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and ALL_PROXY where the first two
// are not set. Where a variable applies that is not the URL of a proxy, the error names it: to
// connect without a proxy would not be what the user wants.
func environmentProxies() dial.ProxyFunc {
	config := httpproxy.FromEnvironment()
	chosen := map[string]variable{
		"http":  firstOf("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"),
		"https": firstOf("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
	}
	// It ignores a URL that it cannot parse, so it only decides whether the proxy applies.
	config.HTTPProxy, config.HTTPSProxy = "", ""
	if chosen["http"].value != "" {
		config.HTTPProxy = "http://proxy.invalid"
	}
	if chosen["https"].value != "" {
		config.HTTPSProxy = "http://proxy.invalid"
	}
	applies := config.ProxyFunc()
	return func(server *url.URL) (*url.URL, error) {
		proxy, err := applies(server)
		if proxy == nil || err != nil {
			return nil, err
		}
		v := chosen[server.Scheme]
		if proxy, err = transport.ParseProxy(v.value); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
		return proxy, nil
	}
}

// ProxySource says what has chosen the proxy for a URL with ws or wss: the setting, or the variable
// of the environment.
func ProxySource(told *config.Connect, server *url.URL) string {
	switch place := told.From["proxy"]; {
	case told.Proxy.URL == nil:
	case place.Flag:
		return "--proxy"
	case place.Variable != "":
		return place.Variable
	default:
		return place.File
	}
	if server.Scheme == "ws" {
		return firstOf("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy").name
	}
	return firstOf("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy").name
}

// A variable is one of the environment.
type variable struct{ name, value string }

// firstOf returns the first of these variables that is not empty.
func firstOf(names ...string) variable {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return variable{name, value}
		}
	}
	return variable{}
}
