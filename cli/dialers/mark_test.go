package dialers

import (
	"net/netip"
	"testing"
)

// The machine's own servers are asked, one after the other, in the place of systemd-resolved and of
// servers inside the tunnel.
func TestOutside(t *testing.T) {
	stub, first, second := netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("192.0.2.53"),
		netip.MustParseAddr("2001:db8::53")
	for _, test := range []struct {
		address string
		servers []netip.Addr
		number  uint32
		want    string
	}{
		{"127.0.0.53:53", []netip.Addr{stub, first, second}, 0, "192.0.2.53:53"},
		{"127.0.0.53:53", []netip.Addr{stub, first, second}, 1, "[2001:db8::53]:53"},
		{"127.0.0.53:53", []netip.Addr{stub, first, second}, 2, "192.0.2.53:53"},
		{"10.1.1.1:53", []netip.Addr{first}, 7, "192.0.2.53:53"},
		{"192.0.2.53:53", []netip.Addr{second, first}, 0, "192.0.2.53:53"},
		{"127.0.0.1:53", []netip.Addr{netip.MustParseAddr("127.0.0.1")}, 0, "127.0.0.1:53"},
		{"127.0.0.1:53", nil, 0, "127.0.0.1:53"},
	} {
		if got := outside(test.address, test.servers, test.number); got != test.want {
			t.Errorf("%s with %v, question %d: %s, want %s", test.address, test.servers, test.number,
				got, test.want)
		}
	}
}

// An address and what /etc/hosts has need no DNS.
func TestNeedsDNS(t *testing.T) {
	for host, want := range map[string]bool{"192.0.2.1": false, "2001:db8::1": false,
		"localhost": false, "hub.example.com": true} {
		if got := needsDNS(t.Context(), host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
