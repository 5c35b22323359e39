package policy

import (
	"net/netip"
	"testing"

	"tunnel/tun/tuntest"
)

// With Public clients reach public addresses, and no private network that is not pushed to them,
// nor what is behind other clients.
func TestPublic(t *testing.T) {
	o, without := newOffice(false), newOffice(false)
	o.Public = true
	for _, o := range []*office{o, without} {
		o.networks = append(o.networks, behind{netip.MustParsePrefix("198.51.100.0/24"), o.branch})
	}
	for _, test := range []struct{ far, to, from string }{
		{"203.0.113.9", kernel, passes},
		{"8.8.8.8", kernel, passes},
		{"100.63.0.1", kernel, passes},
		{"100.128.0.1", kernel, passes},
		{"172.16.1.9", kernel, passes}, // pushed
		{"198.51.100.9", "client_to_client", "client_to_client"},
		{"172.16.2.9", "destination", "not_pushed"},
		{"10.2.0.1", "destination", "not_pushed"},
		{"192.168.1.1", "destination", "not_pushed"},
		{"100.64.0.1", "destination", "not_pushed"},
		{"169.254.169.254", "martian", "martian"},
		{"127.0.0.1", "loopback", "loopback"},
		{"255.255.255.255", "broadcast", "broadcast"},
		{"224.0.0.1", "multicast", "multicast"},
	} {
		v, toKernel := o.FromMember(o.laptop, batch("10.1.1.3", test.far), 0)
		got := v.String()
		if toKernel {
			got += " to the kernel"
		}
		if got != test.to {
			t.Errorf("to %s: %s; want %s", test.far, got, test.to)
		}
		if got := o.FromKernel(tuntest.Packet(test.far, "10.1.1.3", 1)).String(); got != test.from {
			t.Errorf("from %s: %s; want %s", test.far, got, test.from)
		}
		if !public(netip.MustParseAddr(test.far)) || test.far == "198.51.100.9" {
			continue
		}
		v, _ = without.FromMember(without.laptop, batch("10.1.1.3", test.far), 0)
		back := without.FromKernel(tuntest.Packet(test.far, "10.1.1.3", 1))
		if v != Destination || back != NotPushed {
			t.Errorf("without Public %s: %s, and from there %s", test.far, v, back)
		}
	}
}
