package firewall

import (
	"net/netip"
	"testing"
)

// One sender gets a small part of a large table, and enough to work with of a small one.
func TestLimitOfTable(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]int{
		262144: 3072, 65536: 2048, 32768: 1024, 7900: 1024, 3900: 975, 4: 1, 1: 1, 0: 3072,
	} {
		if got := limit(most); got != want {
			t.Errorf("%d of %d, want %d", got, most, want)
		}
	}
}

// A network behind a client gets what its addresses need, within bounds: never less than twice what
// an address has, nor more than a quarter of the table unless that is less still.
func TestLimitBehind(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		network    string
		most, want int
	}{
		{"10.60.0.1/32", 262144, 2 * 3072},
		{"10.60.0.0/25", 262144, 8192},
		{"10.60.0.0/24", 262144, 16384},
		{"10.60.0.0/23", 262144, 24576}, // 300 hosts have 80 each
		{"10.0.0.0/8", 262144, 24576},
		{"10.60.0.0/23", 65536, 16384},
		{"10.60.0.0/23", 7900, 2048},
		{"10.60.0.0/23", 0, 24576},
	} {
		limit := limit(test.most)
		tracked := Tracked{Limit: limit, MaxBehind: maxBehind(test.most, limit)}
		if got := tracked.behind(netip.MustParsePrefix(test.network), limit); got != test.want {
			t.Errorf("%s of %d: %d, want %d", test.network, test.most, got, test.want)
		}
	}
}
