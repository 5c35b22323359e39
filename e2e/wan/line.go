package wan

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// maxFrames bounds the frames on the way in one direction, whatever the link says, for the
// machine's memory.
const maxFrames = 1 << 16

// frame is an Ethernet frame on its way.
type frame struct {
	data []byte        // nil for one that is lost: it takes its time on the line all the same
	size int           // bytes
	sent time.Duration // when its last bit has left the queue
	due  time.Duration // when it arrives
}

// line is one direction as a calculation: when frames leave, arrive, or get lost. It knows no
// clock; times are since any fixed moment and never run backwards.
type line struct {
	link      Link
	direction uint64 // tells the two directions' random numbers apart
	unplugged bool

	chance  *rand.Rand
	flight  fifo          // frames not yet due, in order
	unsent  int           // index in flight of the first that has not left the queue
	waiting int           // bytes that have not left the queue
	idle    time.Duration // when the last bit of all that was accepted has left
	stats   Stats
}

// set changes the link.
func (l *line) set(link Link) {
	if l.chance == nil || link.Seed != l.link.Seed {
		l.chance = rand.New(rand.NewPCG(link.Seed, l.direction))
	}
	l.link = link
}

// offer gives the line a frame. The line keeps data if it returns true.
func (l *line) offer(now time.Duration, data []byte) (kept bool) {
	// Drawn whatever becomes of the frame, so that one frame's fate does not depend on what
	// happened to others.
	lost := l.link.Loss > 0 && !isARP(data) && l.chance.Float64() < l.link.Loss
	l.transmit(now)
	switch {
	case l.unplugged || l.link.Hole:
		l.stats.Holed++
		return false
	case l.flight.len() >= maxFrames, l.link.Queue > 0 && l.waiting > 0 &&
		l.waiting+len(data) > l.link.Queue:
		l.stats.Dropped++
		return false
	}
	f := frame{data: data, size: len(data)}
	f.sent = max(now, l.idle)
	if l.link.Rate > 0 {
		f.sent += time.Duration(math.Ceil(float64(f.size) * 8e9 / float64(l.link.Rate)))
	}
	f.due = f.sent + l.link.Delay
	if last := l.flight.last(); last != nil {
		f.due = max(f.due, last.due) // a delay that was made shorter must not reorder
	}
	if lost {
		l.stats.Lost++
		f.data = nil
	}
	l.idle = f.sent
	l.waiting += f.size
	l.flight.push(f)
	return !lost
}

// transmit notes which frames have left the queue.
func (l *line) transmit(now time.Duration) {
	for l.unsent < l.flight.len() {
		f := l.flight.at(l.unsent)
		if f.sent > now {
			return
		}
		l.waiting -= f.size
		l.unsent++
	}
}

// arrive returns the next frame that is due; ok is false when there is none. Data is nil when the
// frame is lost.
func (l *line) arrive(now time.Duration) (data []byte, deliver, ok bool) {
	l.transmit(now)
	if l.flight.len() == 0 || l.flight.at(0).due > now {
		return nil, false, false
	}
	f := l.flight.pop()
	l.unsent--
	switch {
	case f.data == nil:
		return nil, false, true
	case l.unplugged || l.link.Hole:
		l.stats.Holed++
		return f.data, false, true
	}
	l.stats.Passed++
	l.stats.Bytes += uint64(f.size)
	return f.data, true, true
}

// next returns when the next frame is due; ok is false when there is none on the way.
func (l *line) next() (due time.Duration, ok bool) {
	if l.flight.len() == 0 {
		return 0, false
	}
	return l.flight.at(0).due, true
}

// isARP tells whether an Ethernet frame carries ARP.
func isARP(data []byte) bool {
	const etherType, arp = 12, 0x0806
	return len(data) >= etherType+2 && binary.BigEndian.Uint16(data[etherType:]) == arp
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
