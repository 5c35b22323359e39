package policy

import (
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Member is one client of a hub: its address, and Rules that may be replaced at any time. Its
// methods may be called concurrently.
type Member struct {
	Address netip.Addr
	rules   atomic.Pointer[Rules]
}

// NewMember returns the member with this address, and rules that allow nothing more.
func NewMember(address netip.Addr) *Member {
	m := &Member{Address: address}
	m.Set(&Rules{})
	return m
}

// Set makes r the rules of m.
func (m *Member) Set(r *Rules) { m.rules.Store(r) }

// reaches reports whether a lies in a network that is pushed to m.
func (m *Member) reaches(a netip.Addr) bool {
	pushed := m.rules.Load().pushed
	return pushed != nil && pushed.Lookup(a)
}

// Rules are the networks that a client may reach behind the hub. They do not change. The zero Rules
// have none.
type Rules struct {
	pushed *bart.Lite // nil for none
}

// NewRules returns the rules of a client to which networks are pushed.
func NewRules(pushed []netip.Prefix) *Rules {
	r := &Rules{}
	for _, prefix := range pushed {
		if r.pushed == nil {
			r.pushed = new(bart.Lite)
		}
		r.pushed.Insert(prefix)
	}
	return r
}
