package audit

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// Unauthenticated clients have these entries about refused logins at once, then one every pause:
// all together less than 3 MB a day. One address has fewer, so that others are heard beside it.
const (
	refusedBurst    = 60
	refusedPause    = 10 * time.Second
	oneRefusedBurst = 10
	oneRefusedPause = time.Minute
	maxSources      = 4096 // that are remembered
)

// limits bound the entries about refused logins. The zero value is ready; it is not for concurrent
// use.
type limits struct {
	all     *rate.Limiter
	sources map[netip.Prefix]*rate.Limiter
}

// take reports whether there may be an entry about a login from remote, an address with or without
// a port.
func (l *limits) take(remote string, now time.Time) bool {
	if l.all == nil {
		l.all = rate.NewLimiter(rate.Every(refusedPause), refusedBurst)
	}
	of := SourceOf(remote)
	one := l.sources[of]
	if one == nil {
		if len(l.sources) >= maxSources || l.sources == nil {
			// An attacker with so many addresses gets a few entries more for each, and no more than
			// all may have.
			l.sources = map[netip.Prefix]*rate.Limiter{}
		}
		one = rate.NewLimiter(rate.Every(oneRefusedPause), oneRefusedBurst)
		l.sources[of] = one
	}
	return one.AllowN(now, 1) && l.all.AllowN(now, 1)
}

// SourceOf returns the network whose addresses one machine may have: an IPv4 address, or an IPv6
// /64; the zero Prefix if remote has none.
func SourceOf(remote string) netip.Prefix {
	a, err := netip.ParseAddr(remote)
	if at, failed := netip.ParseAddrPort(remote); err != nil && failed == nil {
		a = at.Addr()
	}
	bits := 32
	if a = a.Unmap().WithZone(""); a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
