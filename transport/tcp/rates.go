package tcp

import "time"

const (
	// growth is how much the rate grows in about a second while BBR finds more: by a quarter every eight round trips, or more.
	growth   = 1.25
	growTime = time.Second

	// A socket that has less than backlog bytes to send is at rest.
	backlog    = minUnsent / 4
	recentTime = time.Second
	forgotten  = 0.5 // of the rate before the rest
)

// rates is what is known of the rate that BBR sees on a socket, over time.
type rates struct {
	least uint64    // bytes a second, since it last grew
	grew  time.Time // when it last did

	best   uint64    // bytes a second, the most of late without a rest
	bestAt time.Time // when that was
	rested bool      // since then
}

// see notes the rate, in bytes a second.
func (r *rates) see(rate uint64, now time.Time) {
	r.least = min(r.least, rate)
	if float64(rate) > growth*float64(r.least) {
		r.least, r.grew = rate, now
	}
}

// grows tells whether the path was found to have room for more just now.
func (r *rates) grows(now time.Time) bool { return now.Sub(r.grew) < growTime }

// forgot tells whether BBR, with that rate, knows less of the path than it did before a rest, in which a socket sends next to
// nothing: acknowledgments for what comes in, or the first packets of the next flow. Their losses pass for a slow path, which is all
// that BBR remembers after ten round trips, and from there the rate grows by a quarter every eight round trips only. It was seen
// to take five seconds from 3 to 95 Mbit/s, of which it had sent before.
func (r *rates) forgot(rate uint64, notSent uint32, now time.Time) bool {
	if notSent < backlog {
		r.rested = true
		return false
	}
	forgot := r.best == 0 || r.rested && float64(rate) < forgotten*float64(r.best)
	if forgot || rate >= r.best || now.Sub(r.bestAt) > recentTime {
		r.best, r.bestAt, r.rested = rate, now, false
	}
	return forgot
}
