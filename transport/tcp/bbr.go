package tcp

import "time"

// BBR's restart. Symptom: after an idle period, a connection that had sent 95 Mbit/s begins at 3
// and takes five seconds to reach 95 again. Source: an idle socket sends only a few segments:
// acknowledgments, or the first packets of the next flow. If some of these are lost, BBR measures a
// low bandwidth. After ten round trips its filter holds nothing else, and from there the rate grows
// only by a quarter every eight round trips. Figure: with a restart after an idle period of any
// length, the second of two streams down had 77.5 Mbit/s instead of 70. Measure again:
// TestRestartAfterRest, and docs/PERFORMANCE.md.
const (
	recentTime = time.Second
	forgotten  = 0.5 // of the rate before the idle period: BBR restarts below this

	// While BBR finds more bandwidth, its rate grows by the factor growth within about growTime: by
	// a quarter every eight round trips (PROBE_BW), or faster (STARTUP).
	growth   = 1.25
	growTime = time.Second
)

// rates is the history of the bandwidth that BBR has measured on a socket.
type rates struct {
	least uint64        // bytes a second: the minimum since the rate last grew
	grew  time.Duration // when the rate last grew
	ever  bool          // the rate has grown at least once

	best   uint64        // bytes a second: the recent maximum while the socket was busy
	bestAt time.Duration // when best was measured
	rested bool          // the socket has been idle since bestAt
}

// restart records the bandwidth in s, and reports whether BBR should be restarted.
func (r *rates) restart(s Sample) bool {
	if s.Bandwidth == 0 { // BBR has measured nothing yet
		return false
	}
	r.see(s.Bandwidth, s.At)
	if !r.forgot(s.Bandwidth, s.NotSent, s.At) || s.Gain > startupGain {
		return false
	}
	r.grew, r.ever = s.At, true
	return true
}

// see records a rate, in bytes a second.
func (r *rates) see(rate uint64, now time.Duration) {
	r.least = min(r.least, rate)
	if float64(rate) > growth*float64(r.least) {
		r.least, r.grew, r.ever = rate, now, true
	}
}

// grows reports whether the rate has grown within the last growTime.
func (r *rates) grows(now time.Duration) bool { return r.ever && now-r.grew < growTime }

// forgot reports whether rate, which BBR measures now, is far below the rate before an idle period.
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

// BBR's STARTUP. Symptom: the queue of the bottleneck overflows without end, and a tenth of the
// segments is lost. Source: in STARTUP, BBR sends at 2.9 times the bandwidth that it has measured,
// until that has not grown by a quarter for three round trips (net/ipv4/tcp_bbr.c). Round trips in
// which the application was the limit do not count, and a socket with TCP_NOTSENT_LOWAT is nearly
// always application-limited in that sense. The rule therefore bounds the pacing rate once the path
// is full, until BBR leaves STARTUP. Figure: on 100 Mbit/s with 40 ms and no loss, a ping beside
// four streams up takes 67 ms, and 74 to 110 ms without the bound. Measure again: the traces of
// TestDecisions; e2e/wan without loss counts the packets that its queue drops.
const (
	startupGain = 512  // BBR is in STARTUP while its pacing gain is above this, in 1/256
	fullGrowth  = 1.25 // the rate grows by less when the path is full
	fullRounds  = 3
	fullQueue   = 1.25 // and the round trip is longer than the minimum by this factor
	fullUse     = 0.5  // of the rate: a socket that sends less shares the queue with others
	// of the rate: BBR can still measure a little more, and the socket has a backlog
	startupPace = 1.1
)

// startup is the state of the STARTUP rule on one socket.
type startup struct {
	over   bool          // BBR has left STARTUP
	looked time.Duration // when pace was last called
	best   uint64        // bytes a second
	since  time.Duration // when mark was last called
	acked  uint64        // Sample.Acked at since
}

// pace returns the maximum pacing rate of the socket, in bytes a second, 0 for no bound; now is the
// present one.
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
		u.mark(s) // other connections fill the path
		return now
	}
	return uint32(min(startupPace*float64(s.Bandwidth), unlimited-1))
}

// mark starts the count of round trips without growth anew, at s.
func (u *startup) mark(s Sample) {
	u.best, u.acked, u.since = max(s.Bandwidth, u.best), s.Acked, s.At
}
