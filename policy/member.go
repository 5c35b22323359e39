package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// Member is what one client of a hub may send from: its address, and the networks behind it.
type Member struct {
	Address netip.Addr
	behind  *bart.Lite // nil for none
}

// NewMember returns the member with this address and the networks that its token allows.
func NewMember(address netip.Addr, behind []netip.Prefix) Member {
	m := Member{Address: address}
	for _, prefix := range behind {
		if m.behind == nil {
			m.behind = new(bart.Lite)
		}
		m.behind.Insert(prefix)
	}
	return m
}

// Has reports whether a is m's own address or lies in a network behind it.
func (m *Member) Has(a netip.Addr) bool {
	return a == m.Address || m.behind != nil && m.behind.Lookup(a)
}
