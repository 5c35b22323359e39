package dns

import (
	"net/netip"
	"testing"
)

// Only servers that a network contains are used, with a full tunnel public ones, too, and without
// one there is nothing to set.
func TestWithin(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.1.0/24"),
		netip.MustParsePrefix("192.168.7.0/24")}
	c := config(true, "192.168.7.53 8.8.8.8 10.1.1.1", "corp.example")
	for servers, full := range map[string]bool{"8.8.8.8 10.1.1.1": true, "10.1.1.1": false} {
		got := c.Within(networks[:1], full)
		if !got.Equal(config(true, servers, "corp.example")) {
			t.Errorf("a full tunnel %v: %+v", full, got)
		}
	}
	want := config(true, "192.168.7.53 10.1.1.1", "corp.example")
	if got := c.Within(networks, false); !got.Equal(want) {
		t.Errorf("%+v", got)
	}
	if got := c.Within(nil, false); !got.IsZero() {
		t.Errorf("%+v", got)
	}
}
