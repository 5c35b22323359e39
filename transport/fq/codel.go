package fq

import (
	"math"
	"time"

	"tunnel/packet"
)

// The least parameters of CoDel (RFC 8289 sections 4.3 and 4.4, RFC 8290 section 5.2).
const (
	MinTarget   = 5 * time.Millisecond   // the standing delay that is accepted
	MinInterval = 100 * time.Millisecond // for how long it may be exceeded
)

// SetCoDel sets the standing delay that is accepted, and for how long it may be exceeded.
func (q *Queue) SetCoDel(target, interval time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.target, q.interval = int64(target), int64(interval)
}

// codel is the state of one flow's CoDel; the names are those of RFC 8289 section 5.
type codel struct {
	// when the delay will have been above target for an interval; 0 while it is below
	firstAbove int64
	dropNext   int64 // when to drop next, while dropping
	count      uint32
	lastCount  uint32
	dropping   bool
}

// dequeue returns the next packet of f after CoDel has dropped or marked packets (RFC 8289 section
// 5.5).
func (q *Queue) dequeue(f *flow, now int64) *packet.Packet {
	c := &f.codel
	p := q.take(f)
	if p == nil {
		c.firstAbove, c.dropping = 0, false
		return nil
	}
	if now-p.Queued > drainedIn {
		q.slow = now
	}
	above := q.above(p, f, now)
	switch {
	case c.dropping && !above:
		c.dropping = false
	case c.dropping:
		for now >= c.dropNext && c.dropping {
			c.count++
			if q.mark(p) {
				c.dropNext = q.law(c, c.dropNext)
				return p
			}
			p = q.replace(f, p)
			if p == nil || !q.above(p, f, now) {
				c.dropping = false
			} else {
				c.dropNext = q.law(c, c.dropNext)
			}
		}
	case above:
		if !q.mark(p) {
			p = q.replace(f, p)
			if p != nil {
				q.above(p, f, now)
			}
		}
		c.dropping = true
		// If packets were dropped recently, begin with the drop rate of that time.
		delta := c.count - c.lastCount
		c.count = 1
		if delta > 1 && now-c.dropNext < 16*q.interval {
			c.count = delta
		}
		c.lastCount = c.count
		c.dropNext = q.law(c, now)
	}
	return p
}

// above reports whether the delay has been above target for a whole interval.
func (q *Queue) above(p *packet.Packet, f *flow, now int64) bool {
	c := &f.codel
	if now-p.Queued < q.target || f.bytes <= quantum {
		c.firstAbove = 0
		return false
	}
	if c.firstAbove == 0 {
		c.firstAbove = now + q.interval
		return false
	}
	return now >= c.firstAbove
}

// law returns the time of the next drop after t: the interval is divided by the square root of the
// number of drops.
func (q *Queue) law(c *codel, t int64) int64 {
	return t + int64(float64(q.interval)/math.Sqrt(float64(c.count)))
}

// mark sets Congestion Experienced in p, and reports whether its sender supports ECN.
func (q *Queue) mark(p *packet.Packet) bool {
	if !packet.MarkCE(p.IP()) {
		return false
	}
	q.drops.Marked++
	q.meter.Marked(p)
	return true
}

// replace drops p and returns the next packet; of a super-packet it drops one segment and returns
// the rest.
func (q *Queue) replace(f *flow, p *packet.Packet) *packet.Packet {
	q.drops.CoDel++
	q.meter.DroppedSegment(p)
	if p.DropSegment() {
		return p
	}
	p.Free()
	return q.take(f)
}
