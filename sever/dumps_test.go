package sever

import (
	"net/netip"
	"testing"
)

// The kernel walks over its sockets once for each family and protocol, however many networks a
// token has, as far as they fit into one program.
func TestDumps(t *testing.T) {
	t.Parallel()
	networks := func(n int) (all []netip.Prefix) {
		for i := range n {
			all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 24))
		}
		return all
	}
	six := netip.MustParsePrefix("fd00::/64")
	for _, test := range []struct {
		all  []netip.Prefix
		want int
	}{
		{nil, 0}, {networks(1), 4}, {[]netip.Prefix{six}, 2}, {append(networks(256), six), 4},
		{networks(maxNetworks + 1), 8},
	} {
		if got := dumps(test.all); len(got) != test.want {
			t.Errorf("%d dumps for %d networks, want %d", len(got), len(test.all), test.want)
		}
	}
	var most []netip.Prefix
	for range maxNetworks {
		most = append(most, six)
	}
	if n := len(bytecode(most)); n >= 1<<16-4 { // the length of an attribute has 16 bits
		t.Errorf("the longest program has %d bytes", n)
	}
}
