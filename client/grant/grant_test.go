package grant_test

import (
	"net/netip"
	"testing"

	"tunnel/client/grant"
)

// TestCheckOfNoAddresses has a worker that is broken into ask its parent for what is no pair of
// IPv4 addresses: it is refused, and does not end the parent.
func TestCheckOfNoAddresses(t *testing.T) {
	four, six := netip.MustParseAddr("10.1.1.3"), netip.MustParseAddr("fd00::3")
	for _, pair := range [][2]netip.Addr{{}, {four}, {{}, four}, {six, six.Next()}, {four, six}} {
		for _, network := range []netip.Prefix{
			{}, netip.MustParsePrefix("10.1.1.0/24"), netip.MustParsePrefix("fd00::/29"),
		} {
			for _, accept := range [][]netip.Prefix{nil, {network}} {
				if err := grant.Check(network, pair[0], pair[1], accept); err == nil {
					t.Errorf("took %v in %s", pair, network)
				}
			}
		}
	}
}
