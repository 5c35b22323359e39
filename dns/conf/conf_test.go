package conf

import (
	"net/netip"
	"slices"
	"testing"
)

// TestNameservers has the forms that the resolvers of glibc and musl read, and such as none reads.
func TestNameservers(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver 10.1.1.9\n":            "10.1.1.9",
		"nameserver 10.1.1.9":              "10.1.1.9",
		"nameserver\t10.1.1.9 # comment\n": "10.1.1.9",
		"#\nnameserver  10.1.1.9\r\n":      "10.1.1.9",
		"nameserver 10.1.1.9\x00\n":        "10.1.1.9",
		"nameserver 10.1.1.9\x00x\n":       "10.1.1.9",
		"nameserver 0x0a.1.1.9":            "10.1.1.9",
		"nameserver 0XA.0x1.01.011":        "10.1.1.9",
		"nameserver 012.1.1.9":             "10.1.1.9",
		"nameserver 10.1.265":              "10.1.1.9",
		"nameserver 10.65801":              "10.1.1.9",
		"nameserver 167837961":             "10.1.1.9",
		"nameserver 0x0a010109":            "10.1.1.9",
		"nameserver 4294967295":            "255.255.255.255",
		"nameserver ::ffff:10.1.1.9":       "10.1.1.9",
		"nameserver ::ffff:10.1.1.9%":      "10.1.1.9",
		"nameserver 2001:db8::1":           "2001:db8::1",
		"nameserver fe80::1%eth0":          "fe80::1%eth0",
		"nameserver":                       "",
		"nameserver 10.1.1.9.":             "",
		"nameserver 10.1.1.9.1":            "",
		"nameserver 10.1.1.256":            "",
		"nameserver 256.1.1.9":             "",
		"nameserver 10.1.65536":            "",
		"nameserver 10.16777216":           "",
		"nameserver 4294967296":            "",
		"nameserver 10..9":                 "",
		"nameserver 08.1.1.9":              "",
		"nameserver 0x.1.1.9":              "",
		"nameserver -1.1.1.9":              "",
		"nameserver host":                  "",
		"nameservers 10.1.1.9":             "",
		"search 10.1.1.9":                  "",
	} {
		var all []netip.Addr
		if want != "" {
			all = append(all, netip.MustParseAddr(want))
		}
		if got := Nameservers(text); !slices.Equal(got, all) {
			t.Errorf("%q: %v, want %v", text, got, all)
		}
	}
}
