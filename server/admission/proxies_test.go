package admission

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestClientBehindProxies(t *testing.T) {
	trusted := Proxies{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/24"),
		netip.MustParsePrefix("fd00::/64")}
	for _, test := range []struct {
		name, peer string
		header     []string
		want       string
	}{
		{"no proxy", "192.0.2.1:999", nil, "192.0.2.1"},
		{"a claim of no proxy", "192.0.2.1:999", []string{"10.0.0.1"}, "192.0.2.1"},
		{"a client claims to be a proxy", "192.0.2.1:999", []string{"198.51.100.7, 127.0.0.1"},
			"192.0.2.1"},
		{"a proxy", "127.0.0.1:999", []string{"198.51.100.7"}, "198.51.100.7"},
		{"a claim that the proxy passes on", "127.0.0.1:999", []string{"203.0.113.1, 198.51.100.7"},
			"198.51.100.7"},
		{"a claim to be a proxy's client", "127.0.0.1:999",
			[]string{"203.0.113.1, 10.0.0.3, 198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "127.0.0.1:999", []string{"203.0.113.1, 198.51.100.7, 10.0.0.9"}, "198.51.100.7"},
		{"two headers", "127.0.0.1:999", []string{"203.0.113.1", "198.51.100.7,10.0.0.9"},
			"198.51.100.7"},
		{"garbage left of what counts", "127.0.0.1:999", []string{"<script>,,, 198.51.100.7"},
			"198.51.100.7"},
		{"only proxies", "127.0.0.1:999", []string{"10.0.0.7, 10.0.0.9"}, "10.0.0.7"},
		{"no header", "127.0.0.1:999", nil, "127.0.0.1"},
		{"empty", "127.0.0.1:999", []string{""}, "127.0.0.1"},
		{"garbage", "127.0.0.1:999", []string{"198.51.100.7, unknown"}, "127.0.0.1"},
		{"garbage behind a proxy", "127.0.0.1:999", []string{"198.51.100.7, unknown, 10.0.0.9"},
			"127.0.0.1"},
		{"a trailing comma", "127.0.0.1:999", []string{"198.51.100.7,"}, "127.0.0.1"},
		{"with a port", "127.0.0.1:999", []string{"198.51.100.7:4711"}, "198.51.100.7"},
		{"IPv6", "[fd00::9]:999", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6 in brackets", "[fd00::9]:999", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"IPv6 with a port", "[fd00::9]:999", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:999", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"IPv4 in IPv6, no proxy", "[::ffff:192.0.2.1]:999", []string{"10.0.0.1"}, "192.0.2.1"},
	} {
		r := &http.Request{RemoteAddr: test.peer, Header: http.Header{}}
		for _, value := range test.header {
			r.Header.Add("X-Forwarded-For", value)
		}
		if got := trusted.Client(r).String(); got != test.want {
			t.Errorf("%s: %s; want %s", test.name, got, test.want)
		}
	}
}

func TestSource(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"127.0.0.1": "invalid Prefix", "::1": "invalid Prefix",
	} {
		if got := SourceOf(netip.MustParseAddr(address)).String(); got != want {
			t.Errorf("%s is counted under %s; want %s", address, got, want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("198.51.100.7, 10.0.0.9")
	f.Add("[::1]:0,,[fe80::1%eth0]")
	trusted := Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, value string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1",
			Header: http.Header{"X-Forwarded-For": {value}}}
		if a := trusted.Client(r); !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			t.Errorf("%q: %v", value, a)
		}
	})
}
