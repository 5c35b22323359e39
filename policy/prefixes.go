package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Prefixes is a set of networks. The zero Prefixes is empty. It may be used concurrently.
type Prefixes struct{ table *bart.Lite }

// NewPrefixes returns the set of all.
func NewPrefixes(all []netip.Prefix) (s Prefixes) {
	for _, p := range all {
		if s.table == nil {
			s.table = new(bart.Lite)
		}
		s.table.Insert(p)
	}
	return s
}

// Contain reports whether one of the networks has the address.
func (s Prefixes) Contain(a netip.Addr) bool { return s.table != nil && s.table.Lookup(a) }
