package rtnl

import "net/netip"

// Near is a network that an interface leads to.
type Near struct {
	Dev     string
	Network netip.Prefix
}
