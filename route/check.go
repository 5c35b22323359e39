package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/cmdrun"
	"tunnel/journal"
	"tunnel/rtnl"
)

// ErrPublic says that a network has public addresses, in a process whose user may not take them
// over.
var ErrPublic = errors.New("not a private network")

// minBits is the length of the largest network that a tunnel may have, as RFC 1918's largest.
const minBits = 8

// Own is the tunnel's own device, in a fact about it.
type Own struct {
	Dev string `json:"dev"`
	// Index is the interface index of Dev, 0 if it was not known. The kernel reuses names, but
	// never an index: a device of another index is not the one that this program changed.
	Index int `json:"index,omitzero"`
}

// check returns an ErrFact unless the device may be the tunnel's own.
func (o Own) check(r journal.Rules, fact fmt.Stringer) error {
	if err := rtnl.CheckName(o.Dev); err != nil {
		return err
	}
	if o.Index < 0 || r.Dev != "" && o.Dev != r.Dev {
		return fmt.Errorf("%w: %s is about another device than the tunnel's %s", journal.ErrFact,
			fact, r.Dev)
	}
	return nil
}

// find returns the device, a zero Link if it is gone or another has its name: it must be a TUN, and
// have the index that was noted, if any.
func (o Own) find(m journal.Machine) (rtnl.Link, error) {
	link, err := m.Look.LinkByName(o.Dev)
	if err != nil || link.Tun == nil || o.Index != 0 && link.Index != o.Index {
		return rtnl.Link{}, err
	}
	return link, nil
}

// canClear reports whether what stands in a fact's place on the device can be looked up and
// removed.
func (o Own) canClear(m journal.Machine) bool {
	return m.Look != nil && !cmdrun.IsDry(m.Run) && o.Index != 0
}

// checkNetwork refuses what no tunnel's network may be.
func checkNetwork(r journal.Rules, n netip.Prefix) error {
	if !n.IsValid() || !n.Addr().Is4() || n.Bits() < minBits || !isUnicast(n.Addr()) {
		return fmt.Errorf("%w: %s is not an IPv4 network of /%d or smaller", journal.ErrFact, n,
			minBits)
	}
	if r.Secure && !IsPrivate(n) {
		return fmt.Errorf("%w: %s: "+
			"a program with file capabilities joins and makes private networks only", ErrPublic, n)
	}
	return nil
}

// IsRoutable reports whether a tunnel may have a route to a network: IPv4, /8 or smaller, and only
// addresses that packets are forwarded to.
func IsRoutable(n netip.Prefix) bool {
	return n.IsValid() && n.Addr().Is4() && n == n.Masked() && n.Bits() >= minBits &&
		isUnicast(n.Addr()) && !netip.MustParsePrefix("169.254.0.0/16").Overlaps(n)
}

// isUnicast reports whether a host on some network may have the address.
func isUnicast(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] != 0 &&
		a.As4()[0] < 240
}

// PrivateNetworks returns what RFC 1918 and RFC 6598 section 7 leave to everybody.
func PrivateNetworks() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	}
}

// IsPrivate reports whether all addresses of a network lie in one of PrivateNetworks.
func IsPrivate(n netip.Prefix) bool {
	return slices.ContainsFunc(PrivateNetworks(), func(p netip.Prefix) bool {
		return n.IsValid() && p.Bits() <= n.Bits() && p.Contains(n.Addr())
	})
}
