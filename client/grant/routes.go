package grant

import (
	"fmt"
	"net/netip"
	"slices"

	"tunnel/route"
)

// Routes say which networks behind a server a client takes. The zero Routes take private ones.
type Routes struct {
	None    bool           // take none
	All     bool           // take public ones, too
	Accept  []netip.Prefix // take what lies in one of these, too
	Exclude []netip.Prefix // never take these: where a network has one, the rest of it is taken
}

// Take returns what to route into the tunnel of the networks that a server pushes, and which of
// them were refused, because the user has not accepted them. Excluded networks are not refused.
// The default route is never taken, nor what adds up to it.
func (r Routes) Take(pushed []netip.Prefix) (take, refused []netip.Prefix) {
	if r.None {
		return nil, nil
	}
	for _, p := range pushed {
		if !p.Addr().Is4() { // no client has an IPv6 address
			continue
		}
		if !r.accepts(p) {
			refused = append(refused, p)
			continue
		}
		take = append(take, p)
	}
	if r.tooMuch(take) {
		public := func(p netip.Prefix) bool { return !route.IsPrivate(p) && !r.named(p) }
		for _, p := range take {
			if public(p) {
				refused = append(refused, p)
			}
		}
		take = slices.DeleteFunc(take, public)
		slices.SortFunc(refused, netip.Prefix.Compare)
	}
	for _, without := range r.Exclude {
		var rest []netip.Prefix
		for _, p := range take {
			rest = append(rest, subtract(p, without)...)
		}
		take = rest
	}
	slices.SortFunc(take, netip.Prefix.Compare)
	return slices.Compact(take), refused
}

// Check returns an error unless Take may have returned these networks.
func (r Routes) Check(networks []netip.Prefix) error {
	for _, p := range networks {
		if r.None || !r.accepts(p) || slices.ContainsFunc(r.Exclude, p.Overlaps) {
			return fmt.Errorf("the network %s is not accepted", p)
		}
	}
	if r.tooMuch(networks) {
		return fmt.Errorf("the networks %s add up to a default route", list(networks))
	}
	return nil
}

// accepts reports whether a network may be taken by itself.
func (r Routes) accepts(p netip.Prefix) bool {
	return route.IsRoutable(p) && (route.IsPrivate(p) || r.All || r.named(p))
}

// named reports whether the user has accepted a network by its prefix.
func (r Routes) named(p netip.Prefix) bool { return within(p, r.Accept) }

// tooMuch reports whether networks that the user has accepted by All alone have half of all
// addresses, as each of the two routes has that replace a default route.
func (r Routes) tooMuch(networks []netip.Prefix) bool {
	var sum uint64
	for i, p := range networks {
		if !route.IsPrivate(p) && !r.named(p) && !within(p, networks[:i]) {
			sum += 1 << (32 - p.Bits())
		}
	}
	return sum >= 1<<31
}

// subtract returns the prefixes that are left of p without another.
func subtract(p, without netip.Prefix) []netip.Prefix {
	switch {
	case !p.Overlaps(without):
		return []netip.Prefix{p}
	case without.Bits() <= p.Bits():
		return nil
	}
	var rest []netip.Prefix
	for bits := p.Bits() + 1; bits <= without.Bits(); bits++ {
		rest = append(rest, sibling(netip.PrefixFrom(without.Addr(), bits).Masked()))
	}
	return rest
}

// sibling returns the other half of the prefix that is one bit shorter.
func sibling(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	last := p.Bits() - 1
	a[last/8] ^= 0x80 >> (last % 8)
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}
