package admission

import (
	"net/netip"
	"time"
)

// rate is that of a token bucket: its size, and how many tokens it gets a second.
type rate struct {
	burst  float64
	second float64
}

// connectionRates bound the new connections of each source, and of each network that sources lie
// in, and so its handshakes. A source that sent a valid token has another rate, and does not count
// for its network.
type connectionRates struct {
	known  rate
	source rate // an IPv4 address or an IPv6 /64
	site   rate // an IPv6 /56
	net    rate // an IPv6 /48 or an IPv4 /24
}

// defaultRates let as many clients as one source may have reconnect at once, and more than a
// thousand from one network. perSource is the limit of connections of a source; 0 is none.
func defaultRates(perSource int) connectionRates {
	most := float64(max(256, perSource))
	return connectionRates{
		known:  rate{burst: 4 * most, second: 100},
		source: rate{burst: most, second: 20},
		site:   rate{burst: 4 * most, second: 100},
		net:    rate{burst: 8 * most, second: 200},
	}
}

// of returns the rate of a source, which may be known, or of a network.
func (r connectionRates) of(p netip.Prefix, known bool) rate {
	switch bits := p.Bits(); {
	case known:
		return r.known
	case bits == 24, bits == 48:
		return r.net
	case bits == 56:
		return r.site
	}
	return r.source
}

// buckets holds a token bucket for each source and network. Attackers decide how many there are, so
// the number is bounded; an attacker with more networks would find a full bucket with each anyway.
type buckets struct {
	rates connectionRates
	left  *recent[bucket]
}

type bucket struct {
	used float64 // tokens missing then
	then time.Time
}

// at returns how many tokens are missing.
func (u *bucket) at(now time.Time, r rate) float64 {
	return max(0, u.used-r.second*now.Sub(u.then).Seconds())
}

func newBuckets(rates connectionRates) *buckets {
	return &buckets{rates: rates, left: newRecent[bucket](64 << 10)}
}

// pays reports whether source, and each network that it lies in, has a token left for a connection,
// and if so takes them. The zero prefix has no limit.
func (b *buckets) pays(source netip.Prefix, known bool, now time.Time) bool {
	if !b.able(source, known, now) {
		return false
	}
	for _, prefix := range payers(source, known) {
		u := b.left.touch(prefix)
		*u = bucket{used: u.at(now, b.rates.of(prefix, known)) + 1, then: now}
	}
	return true
}

// able reports whether pays would return true.
func (b *buckets) able(source netip.Prefix, known bool, now time.Time) bool {
	for _, prefix := range payers(source, known) {
		r := b.rates.of(prefix, known)
		if u := b.left.get(prefix); u != nil && u.at(now, r) > r.burst-1 {
			return false
		}
	}
	return true
}

// payers returns the prefixes that need a token for a connection from source.
func payers(source netip.Prefix, known bool) []netip.Prefix {
	switch {
	case !source.IsValid():
		return nil
	case known:
		return []netip.Prefix{source}
	}
	return append([]netip.Prefix{source}, networks(source)...)
}
