package fq

import (
	"time"

	"tunnel/packet"
)

// TakeFresh empties the queue after an outage and returns what is still worth sending, flow by flow
// in order: what has waited for no longer than age, and of every flow the newest packet, however
// old. That one is most likely what a TCP sender has repeated last; when it gets through the
// connection goes on at once, not after the sender's next time-out, which after half a minute is
// another half minute away. The rest is freed and counted as Stale: nobody waits for it, and it
// would only hold up what somebody waits for.
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
