package dial_test

import (
	"net/netip"
	"net/url"
	"testing"

	"tunnel/transport"
	"tunnel/transport/dial"
)

func TestClear(t *testing.T) {
	proxies := func(text string) dial.ProxyFunc {
		return func(*url.URL) (*url.URL, error) { return url.Parse(text) }
	}
	for _, test := range []struct {
		url, hop string
		proxy    dial.ProxyFunc
		want     bool
	}{
		{"ws://server.example", "203.0.113.1", nil, true},
		{"ws://server.example", "2001:db8::1", nil, true},
		{"ws://server.example", "127.0.0.1", nil, false},
		{"ws://server.example", "::ffff:127.3.2.1", nil, false},
		{"ws://[::1]", "::1", nil, false},
		{"ws://10.0.0.1", "10.0.0.1", nil, true},
		{"ws://server.example", "", nil, true}, // not known yet
		{"wss://server.example", "203.0.113.1", nil, false},
		{"ws://server.example", "127.0.0.1", proxies("socks5h://127.0.0.1"), true},
		{"ws://server.example", "203.0.113.9", proxies("https://proxy.example"), true},
		{"ws://127.0.0.1", "203.0.113.9", proxies("http://proxy.example"), true},
		{"wss://server.example", "203.0.113.9", proxies("http://proxy.example"), false},
		{"ws://server.example", "127.0.0.1", proxies("ftp://no.proxy"), true},
	} {
		u, err := transport.ParseURL(test.url)
		if err != nil {
			t.Fatal(err)
		}
		hop, _ := netip.ParseAddr(test.hop)
		if got := (&dial.Dialer{URL: u, Proxy: test.proxy}).Clear(hop); got != test.want {
			t.Errorf("%s by %s: %v", test.url, test.hop, got)
		}
	}
}
