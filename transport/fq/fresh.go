package fq

import (
	"time"

	"tunnel/packet"
)

// Fresh is the age up to which packets are still worth sending after an outage, see TakeFresh.
const Fresh = 2 * time.Second

// TakeFresh empties the queue after an outage and returns the packets that are still worth sending,
// flow by flow in order: those that have waited for at most age, and the newest packet of each
// flow, however old. That is most likely the last retransmission of a TCP sender. If it is
// delivered, the TCP connection continues at once instead of after the sender's next time-out,
// which after an outage of half a minute is another half minute away. The other packets are freed
// and counted as Stale: their receivers no longer need them, and they would delay those that are
// needed.
func (q *Queue) TakeFresh(age time.Duration) []*packet.Packet {
	since := q.clock() - int64(age)
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.refund()
	var kept []*packet.Packet
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
		for list.head != nil {
			f := list.head
			for p := q.take(f); p != nil; p = q.take(f) {
				if p.Queued >= since || f.head == nil {
					kept = append(kept, p)
				} else {
					q.meter.Dropped(p)
					p.Free()
					q.drops.Stale++
				}
			}
			list.shift()
			q.end(f)
		}
	}
	return kept
}
