package nftcmd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Addresses returns the canonical form of the addresses in the prefixes, all of one family:
// overlapping and adjacent ones are joined, which nft would refuse or do itself. There must be at
// least one.
func Addresses(prefixes ...netip.Prefix) string {
	ranges := make([]addressRange, len(prefixes))
	for i, p := range prefixes {
		ranges[i] = addressRange{p.Masked().Addr(), lastOf(p)}
	}
	return addressSet(ranges)
}

// Names returns the canonical form of a set of interface names; there must be at least one.
func Names(names ...string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = strconv.Quote(name)
	}
	return Set(quoted...)
}

// Set returns the canonical form of a set of elements that are no addresses; there must be at least
// one.
func Set(elements ...string) string {
	elements = slices.Clone(elements)
	slices.Sort(elements)
	return braces(slices.Compact(elements))
}

// braces writes a set as nft does: a single element without them.
func braces(elements []string) string {
	if len(elements) == 1 {
		return elements[0]
	}
	return "{ " + strings.Join(elements, ", ") + " }"
}

// addressRange is the addresses from first to last, of one family.
type addressRange struct{ first, last netip.Addr }

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last
}

// addressSet joins ranges that overlap or are adjacent, and writes them in order.
func addressSet(ranges []addressRange) string {
	slices.SortFunc(ranges, func(a, b addressRange) int { return a.first.Compare(b.first) })
	var joined []addressRange
	for _, r := range ranges {
		if n := len(joined); n > 0 && (r.first.Compare(joined[n-1].last) <= 0 ||
			r.first == joined[n-1].last.Next()) {
			if r.last.Compare(joined[n-1].last) > 0 {
				joined[n-1].last = r.last
			}
			continue
		}
		joined = append(joined, r)
	}
	elements := make([]string, len(joined))
	for i, r := range joined {
		elements[i] = r.String()
	}
	return braces(elements)
}

// String returns an address, a prefix, or a range.
func (r addressRange) String() string {
	if r.first == r.last {
		return r.first.String()
	}
	for bits := range r.first.BitLen() {
		p := netip.PrefixFrom(r.first, bits)
		if p.Masked() == p && lastOf(p) == r.last {
			return p.String()
		}
	}
	return r.first.String() + "-" + r.last.String()
}
