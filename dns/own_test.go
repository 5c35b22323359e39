package dns

import (
	"net/netip"
	"slices"
	"testing"
)

// The servers of other links are read that a full tunnel refuses to be asked by those.
func TestOfLinks(t *testing.T) {
	const text = "Global: 9.9.9.9\n" +
		"             149.112.112.112\n" +
		"Link 2 (eth0): 203.0.113.53 192.168.1.1 2001:db8::53\n" +
		"               198.51.100.53#dns.example 203.0.113.53\n" +
		"               100.64.0.1 127.0.0.1\n" +
		"Link 3 (wlan (0)):\n" +
		"Link 4 (tun0): 192.0.2.53\n" +
		"               192.0.2.54\n" +
		"Link 5 (eth1): 192.0.2.55\n"
	want := []netip.Addr{netip.MustParseAddr("203.0.113.53"), netip.MustParseAddr("198.51.100.53"),
		netip.MustParseAddr("192.0.2.55")}
	if got := ofLinks(text, Owner{Dev: "tun0", Index: 4}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, o := range []Owner{{Dev: "tun0", Index: 5}, {Dev: "tun1", Index: 4}} {
		if got := ofLinks(text, o); len(got) > 0 {
			t.Errorf("of a machine without %+v: %v", o, got)
		}
	}
}
