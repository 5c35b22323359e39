package tcp

import (
	"time"
	"tunnel/transport/fq"
)

const (
	maxInterval = time.Second
	// intervalRTTs is the interval in round trips of the path, where that is more. BBR sends next to nothing for five of them every
	// ten seconds (PROBE_RTT), and a queue that has grown meanwhile says nothing. And a sender inside needs one or two to hear of a
	// drop, one more for each segment that the connection underneath has to send again, and slows down by a third for each drop that
	// it hears of.
	intervalRTTs = 10
	// growingRTTs is that of a path whose rate still grows: its queue is that of a connection which has not found yet what the path
	// can do. A sender inside that loses a packet then takes seconds to come near that again.
	growingRTTs = 25
)

// coDel returns the parameters for the queue of a path. Where nearly everything waits at the other end for a segment that was lost, a round trip
// inside takes two of the path's. A sender that has slowed down by a third then leaves the path empty, if it had no queue nearly
// as long as the path. Nobody else waits for that: each flow has a queue of its own.
func (p path) coDel() (target, interval time.Duration) {
	rtts := time.Duration(intervalRTTs)
	if p.grows {
		rtts = growingRTTs
	}
	interval = min(max(rtts*p.rtt, fq.MinInterval), maxInterval)
	target = fq.MinTarget
	if p.lossy {
		target = max(p.rtt*3/4, fq.MinTarget)
	}
	return target, interval
}
