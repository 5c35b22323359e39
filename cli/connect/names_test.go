package connect

import (
	"net/netip"
	"strings"
	"testing"
)

// Only where no DNS server can be asked through the tunnel names do not resolve.
func TestOnLAN(t *testing.T) {
	for servers, want := range map[string]bool{
		"":                               false,
		"127.0.0.53":                     false,
		"192.168.1.1":                    true,
		"127.0.0.53 192.168.1.1 fe80::1": true,
		"100.64.0.1 2001:db8::53":        true,
		"192.168.1.1 9.9.9.9":            false,
	} {
		var all []netip.Addr
		for word := range strings.FieldsSeq(servers) {
			all = append(all, netip.MustParseAddr(word))
		}
		if got := onLAN(all); got != want {
			t.Errorf("%q: %v", servers, got)
		}
	}
}
