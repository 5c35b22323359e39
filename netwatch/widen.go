package netwatch

import (
	"math/bits"
	"net/netip"
	"slices"
)

// widen returns at most that many IPv4 prefixes, which contain all of networks: neighbours are
// replaced by the smallest prefix with both, the nearest first.
func widen(networks []netip.Prefix, most int) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(networks))
	for _, n := range networks {
		all = append(all, n.Masked())
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	for len(all) > max(most, 1) {
		at, best := 0, netip.Prefix{}
		for i := range len(all) - 1 {
			if both := common(all[i], all[i+1]); !best.IsValid() || both.Bits() > best.Bits() {
				at, best = i, both
			}
		}
		all = slices.Replace(all, at, at+2, best)
	}
	return all
}

// common returns the smallest prefix that contains two IPv4 ones.
func common(a, b netip.Prefix) netip.Prefix {
	same := bits.LeadingZeros32(firstWord(a.Addr()) ^ firstWord(b.Addr()))
	return netip.PrefixFrom(a.Addr(), min(a.Bits(), b.Bits(), same)).Masked()
}
