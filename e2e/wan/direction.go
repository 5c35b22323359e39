package wan

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"tunnel/packet"
)

// maxFrames bounds the frames in flight in one direction, whatever the link's queue, to limit
// memory.
const maxFrames = 1 << 16

// frame is an Ethernet frame or a super-frame in flight.
type frame struct {
	data    *packet.Packet // nil if nothing of it arrives; it is sent all the same
	size    int            // bytes that are sent
	sent    time.Duration  // when its last bit leaves the queue
	due     time.Duration  // when it arrives
	arrives Stats          // its part of Passed and Bytes
	// of a super-frame, which segments do not arrive; nil if all do
	missing []bool
}

// lose makes segment i of n missing.
func (f *frame) lose(i, n int) {
	if n == 1 {
		return
	}
	if f.missing == nil {
		f.missing = make([]bool, n)
	}
	f.missing[i] = true
}

// direction is a model of one direction of a link: when frames leave, arrive or get lost. It has no
// clock; times are relative to any fixed moment and never decrease.
type direction struct {
	link      Link
	id        uint64 // a stream of random numbers for each direction
	unplugged bool

	chance  *rand.Rand
	flight  fifo          // frames not yet due, in order
	unsent  int           // index in flight of the first frame in the queue
	waiting int           // bytes in the queue
	idle    time.Duration // when the last bit of the last frame leaves the queue
	stats   Stats
}

// set changes the link's parameters.
func (d *direction) set(link Link) {
	if d.chance == nil || link.Seed != d.link.Seed {
		d.chance = rand.New(rand.NewPCG(link.Seed, d.id))
	}
	d.link = link
}

// offer adds a frame of that shape. The direction owns data if it returns true. A super-frame is
// treated as its segments, sent one right after the other; it arrives with the last of them.
func (d *direction) offer(now time.Duration, data *packet.Packet, s shape) (kept bool) {
	d.transmit(now)
	f := frame{data: data}
	for i := range s.segments {
		// Drawn for every segment, so that its loss does not depend on the others' fate.
		lost := d.link.Loss > 0 && !s.spared && d.chance.Float64() < d.link.Loss
		switch size := s.bytes(i); {
		case d.unplugged || d.link.Hole:
			d.stats.Holed++
		case d.full(f.size, size):
			d.stats.Dropped++
		case lost:
			d.stats.Lost++
			f.size += size
		default:
			f.arrives.Passed++
			f.arrives.Bytes += uint64(size)
			f.size += size
			continue
		}
		f.lose(i, s.segments)
	}
	if f.size == 0 {
		return false
	}
	f.sent = max(now, d.idle)
	if d.link.Rate > 0 {
		f.sent += time.Duration(math.Ceil(float64(f.size) * 8e9 / float64(d.link.Rate)))
	}
	f.due = f.sent + d.link.Delay
	if last := d.flight.last(); last != nil {
		f.due = max(f.due, last.due) // a shorter delay must not reorder
	}
	if f.arrives.Passed == 0 {
		f.data = nil
	}
	d.idle = f.sent
	d.waiting += f.size
	d.flight.push(f)
	return f.data != nil
}

// full reports whether the queue has no room for size more bytes behind those of a super-frame that
// it has taken already.
func (d *direction) full(taken, size int) bool {
	waiting := d.waiting + taken
	return d.flight.len() >= maxFrames || d.link.Queue > 0 && waiting > 0 &&
		waiting+size > d.link.Queue
}

// transmit records which frames have left the queue.
func (d *direction) transmit(now time.Duration) {
	for d.unsent < d.flight.len() {
		f := d.flight.at(d.unsent)
		if f.sent > now {
			return
		}
		d.waiting -= f.size
		d.unsent++
	}
}

// arrive returns the next frame that is due; ok is false if there is none, deliver if it is lost.
// The caller owns its data, if it has any.
func (d *direction) arrive(now time.Duration) (f frame, deliver, ok bool) {
	d.transmit(now)
	if d.flight.len() == 0 || d.flight.at(0).due > now {
		return frame{}, false, false
	}
	f = d.flight.pop()
	d.unsent--
	switch {
	case f.data == nil:
		return f, false, true
	case d.unplugged || d.link.Hole:
		d.stats.Holed += f.arrives.Passed
		return f, false, true
	}
	d.stats.Passed += f.arrives.Passed
	d.stats.Bytes += f.arrives.Bytes
	return f, true, true
}

// next returns when the next frame is due; ok is false if none is in flight.
func (d *direction) next() (due time.Duration, ok bool) {
	if d.flight.len() == 0 {
		return 0, false
	}
	return d.flight.at(0).due, true
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
