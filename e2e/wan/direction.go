package wan

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// maxFrames bounds the frames in flight in one direction, whatever the link's queue, to limit
// memory.
const maxFrames = 1 << 16

// frame is an Ethernet frame in flight.
type frame struct {
	data []byte        // nil if the frame is lost; it is sent all the same
	size int           // bytes
	sent time.Duration // when its last bit leaves the queue
	due  time.Duration // when it arrives
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

// offer adds a frame. The direction keeps data if it returns true.
func (d *direction) offer(now time.Duration, data []byte) (kept bool) {
	// Drawn for every frame, so that a frame's loss does not depend on the others' fate.
	lost := d.link.Loss > 0 && !isARP(data) && d.chance.Float64() < d.link.Loss
	d.transmit(now)
	switch {
	case d.unplugged || d.link.Hole:
		d.stats.Holed++
		return false
	case d.flight.len() >= maxFrames, d.link.Queue > 0 && d.waiting > 0 &&
		d.waiting+len(data) > d.link.Queue:
		d.stats.Dropped++
		return false
	}
	f := frame{data: data, size: len(data)}
	f.sent = max(now, d.idle)
	if d.link.Rate > 0 {
		f.sent += time.Duration(math.Ceil(float64(f.size) * 8e9 / float64(d.link.Rate)))
	}
	f.due = f.sent + d.link.Delay
	if last := d.flight.last(); last != nil {
		f.due = max(f.due, last.due) // a shorter delay must not reorder
	}
	if lost {
		d.stats.Lost++
		f.data = nil
	}
	d.idle = f.sent
	d.waiting += f.size
	d.flight.push(f)
	return !lost
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

// arrive returns the next frame that is due; ok is false if there is none. deliver is false if the
// frame is lost; data is then nil or a buffer to use again.
func (d *direction) arrive(now time.Duration) (data []byte, deliver, ok bool) {
	d.transmit(now)
	if d.flight.len() == 0 || d.flight.at(0).due > now {
		return nil, false, false
	}
	f := d.flight.pop()
	d.unsent--
	switch {
	case f.data == nil:
		return nil, false, true
	case d.unplugged || d.link.Hole:
		d.stats.Holed++
		return f.data, false, true
	}
	d.stats.Passed++
	d.stats.Bytes += uint64(f.size)
	return f.data, true, true
}

// next returns when the next frame is due; ok is false if none is in flight.
func (d *direction) next() (due time.Duration, ok bool) {
	if d.flight.len() == 0 {
		return 0, false
	}
	return d.flight.at(0).due, true
}

// isARP reports whether an Ethernet frame carries ARP.
func isARP(data []byte) bool {
	const etherType, arp = 12, 0x0806
	return len(data) >= etherType+2 && binary.BigEndian.Uint16(data[etherType:]) == arp
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
