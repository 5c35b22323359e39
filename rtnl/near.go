package rtnl

import (
	"cmp"
	"net/netip"
	"strings"
)

// Near is a network that an interface leads to.
type Near struct {
	Dev     string
	Network netip.Prefix
}

// Compare orders by network, then by interface, as cmp.Compare does.
func (n Near) Compare(other Near) int {
	return cmp.Or(n.Network.Compare(other.Network), strings.Compare(n.Dev, other.Dev))
}
