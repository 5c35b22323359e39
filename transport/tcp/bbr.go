package tcp

import "time"

// BBR's restart. Symptom: five seconds from 3 to 95 Mbit/s, of which it had sent before. Source: in
// a rest a socket sends next to nothing, acknowledgments for what comes in, or the first packets of
// the next flow. Their losses pass for a slow path, which is all that BBR remembers after ten round
// trips, and from there the rate grows by a quarter every eight round trips only. Figure: a second
// instead of five. Again: the trace "rest" of TestDecisions, and docs/PERFORMANCE.md.
const (
	recentTime = time.Second
	forgotten  = 0.5 // of the rate before the rest

	// growth is how much the rate grows in about growTime while BBR finds more: by a quarter every
	// eight round trips, or more.
	growth   = 1.25
	growTime = time.Second
)

// rates is what is known of the rate that BBR sees on a socket, over time.
type rates struct {
	least uint64        // bytes a second, since it last grew
	grew  time.Duration // when it last did
	ever  bool          // it has grown

	best   uint64        // bytes a second, the most of late without a rest
	bestAt time.Duration // when that was
	rested bool          // since then
}

// restart notes what BBR has seen, and reports whether it should begin anew.
func (r *rates) restart(s Sample) bool {
	if s.Bandwidth == 0 { // it has seen nothing yet
		return false
	}
	r.see(s.Bandwidth, s.At)
	if !r.forgot(s.Bandwidth, s.NotSent, s.At) || s.Gain > startupGain {
		return false
	}
	r.grew, r.ever = s.At, true
	return true
}

// see notes the rate, in bytes a second.
func (r *rates) see(rate uint64, now time.Duration) {
	r.least = min(r.least, rate)
	if float64(rate) > growth*float64(r.least) {
		r.least, r.grew, r.ever = rate, now, true
	}
}

// grows reports whether the path was found to have room for more just now.
func (r *rates) grows(now time.Duration) bool { return r.ever && now-r.grew < growTime }

// forgot reports whether BBR, with that rate, knows less of the path than it did before a rest.
func (r *rates) forgot(rate uint64, notSent uint32, now time.Duration) bool {
	if notSent < backlog {
		r.rested = true
		return false
	}
	forgot := r.best == 0 || r.rested && float64(rate) < forgotten*float64(r.best)
	if forgot || rate >= r.best || now-r.bestAt > recentTime {
		r.best, r.bestAt, r.rested = rate, now, false
	}
	return forgot
}

// BBR's STARTUP. Symptom: the queue of the narrowest link overflows for ever, and a tenth of what
// is sent is lost. Source: BBR begins by sending at 2.9 times the rate that it has seen, until that
// has not grown by a quarter for three round trips (net/ipv4/tcp_bbr.c). Round trips in which the
// application was the limit do not count, and a socket that is given no more than it asks for
// (TCP_NOTSENT_LOWAT) nearly always looks like that. So its pace is held back once the path is
// full, until BBR has seen that as well. Again: the traces of TestDecisions; e2e/wan without loss
// counts what its queue has lost.
const (
	startupGain = 512  // above that BBR is in STARTUP
	fullGrowth  = 1.25 // the rate grows by less when the path is full
	fullRounds  = 3
	fullQueue   = 1.25 // and the round trip is longer than the shortest by this
	fullUse     = 0.5  // of the rate is sent by this socket, or its queue is that of others
	// of the rate: enough for BBR to see a little more, and for the socket to have a backlog
	startupPace = 1.1
)

// startup is what is known of BBR's STARTUP on one socket.
type startup struct {
	over   bool
	looked time.Duration
	best   uint64        // bytes a second
	since  time.Duration // when counting began
	acked  uint64        // bytes, at that time
}

// pace returns what the socket may send at most, in bytes a second, 0 for no bound; now is what it
// may.
func (u *startup) pace(s Sample, now uint32) uint32 {
	if u.over {
		return now
	}
	u.looked = s.At
	switch {
	case s.Gain == 0: // no acknowledgment has come since BBR was chosen
		return now
	case s.Gain <= startupGain && now > 0:
		u.over = true
		return 0
	case s.MinRTT == 0:
		return now
	}
	if float64(s.Bandwidth) >= fullGrowth*float64(u.best) ||
		float64(s.RTT) < fullQueue*float64(s.MinRTT) {
		u.mark(s)
		return now
	}
	passed := s.At - u.since
	if passed <= fullRounds*s.RTT {
		return now
	}
	if float64(s.Acked-u.acked) < fullUse*float64(s.Bandwidth)*passed.Seconds() {
		u.mark(s) // others fill the path
		return now
	}
	return uint32(min(startupPace*float64(s.Bandwidth), unlimited-1))
}

// mark begins anew to look whether the rate grows.
func (u *startup) mark(s Sample) {
	u.best, u.acked, u.since = max(s.Bandwidth, u.best), s.Acked, s.At
}
