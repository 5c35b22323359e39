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

// handshakeRates bound the handshakes of each source, and of each network that sources lie in. A
// source that sent a valid token has another rate, and does not count for its network.
type handshakeRates struct {
	known  rate
	source rate // an IPv4 address or an IPv6 /64
	site   rate // an IPv6 /56
	net    rate // an IPv6 /48 or an IPv4 /24
}

// defaultRates let as many clients as one source may have reconnect at once, and more than a
// thousand from one network. perSource is the limit of connections of a source; 0 is none.
func defaultRates(perSource int) handshakeRates {
	most := float64(max(256, perSource))
	return handshakeRates{
		known:  rate{burst: 4 * most, second: 100},
		source: rate{burst: most, second: 20},
		site:   rate{burst: 4 * most, second: 100},
		net:    rate{burst: 8 * most, second: 200},
	}
}

func (r handshakeRates) of(p netip.Prefix) rate {
	switch p.Bits() {
	case 24, 48:
		return r.net
	case 56:
		return r.site
	}
	return r.source
}

// buckets holds a token bucket for each source and network. Attackers decide how many there are, so
// the number is bounded; an attacker with more networks would find a full bucket with each anyway.
type buckets struct {
	rates handshakeRates
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

func newBuckets(rates handshakeRates) *buckets {
	return &buckets{rates: rates, left: newRecent[bucket](64 << 10)}
}

// pays reports whether source has a token left for a handshake, and takes it if take is true. The
// zero prefix has no limit.
func (b *buckets) pays(source netip.Prefix, known, take bool, now time.Time) bool {
	if !source.IsValid() {
		return true
	}
	if known {
		return b.spend([]netip.Prefix{source}, func(netip.Prefix) rate { return b.rates.known },
			take, now)
	}
	return b.spend(append([]netip.Prefix{source}, networks(source)...), b.rates.of, take, now)
}

func (b *buckets) spend(all []netip.Prefix, rateOf func(netip.Prefix) rate, take bool,
	now time.Time) bool {
	for _, prefix := range all {
		if u := b.left.get(prefix); u != nil && u.at(now, rateOf(prefix)) > rateOf(prefix).burst-1 {
			return false
		}
	}
	for _, prefix := range all {
		if take {
			u := b.left.touch(prefix)
			*u = bucket{used: u.at(now, rateOf(prefix)) + 1, then: now}
		}
	}
	return true
}
