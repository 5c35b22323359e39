package transport

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
)

// MaxLanes is the most connections that one session may have.
const MaxLanes = 16

// Lanes holds the packets on their way to one peer over one or several connections, its lanes: a Queue for each. A flow
// stays on its lane, so that its packets stay in order; it gets another when it has rested, if that evens the load, or
// when its lane is lost, and then what waits goes with it. Push, Flush and the others may be called by any number of
// goroutines.
type Lanes struct {
	limit     int
	budget    *Budget    // of the queues
	allowance *allowance // of the connections' buffers in the kernel
	owner     string     // of the connections' turns
	clock     func() int64
	only      atomic.Pointer[Queue]   // of the one lane; nil while there are several
	all       atomic.Pointer[[]*lane] // never empty, never changed, only replaced

	mu      sync.RWMutex // held to push, for writing to change what follows
	joined  bool         // the last lane is somebody's; packets wait in its queue if not
	pins    *[pins]pin   // where flows are, by their hashes; nil for one lane
	rotated int64        // when the counting of bytes began anew
	gone    Drops        // of lanes that were lost
}

// A lane is one connection's part of Lanes.
type lane struct {
	queue *Queue
	now   atomic.Int64 // bytes that were pushed since Lanes.rotated
	last  int64        // and in a second before that
	load  int64        // of lightest
}

// A pin holds the flows of one bucket to a lane.
type pin struct {
	lane *lane        // nil is none yet
	used atomic.Int64 // when a packet came last, in nanoseconds of the clock, to within usedStep
}

const (
	// pins divides buckets, so that all flows of a queue's bucket have one pin.
	pins = 256
	// usedStep is how exact pin.used is: it is not written for each packet.
	usedStep = int64(10 * time.Millisecond)
	// rest is after which time without a packet a flow may get another lane.
	rest = int64(time.Second)
	// prompt is the longest that packets wait in a queue, or bytes in a socket, of a lane that flows may leave.
	prompt = int64(250 * time.Millisecond)
	// flowWeight is what a flow counts for beside the bytes of the last seconds: it decides while there is no load.
	flowWeight = 16 << 10
	// laneRoom is how many bytes of buffers each lane may hold at least.
	laneRoom = 1 << 20
	// shownStep is how exact, in bytes, Queue.shown is: it is not written for each packet.
	shownStep = 64 << 10
	// movable is how long a packet may have waited for a lane that was lost, see Queue.Salvage.
	movable = 2 * time.Second
)

// NewLanes returns Lanes without a connection, whose packets take up to limit bytes of buffers. Each of several lanes has a
// share of that, 1 MiB at least, and what the others leave free.
func NewLanes(limit int) *Lanes {
	q := NewQueue(limit)
	l := &Lanes{limit: limit, clock: q.clock, allowance: &allowance{limit: lanesAllowance}}
	q.lanes, q.allowance = l, l.allowance
	l.only.Store(q)
	l.all.Store(&[]*lane{{queue: q}})
	return l
}

// Push takes p over and puts it at the end of its flow.
func (l *Lanes) Push(p *packet.Packet) {
	hash := packet.FlowHash(p.IP())
	var over, pushed bool
	if q := l.only.Load(); q != nil {
		over, pushed = q.pushAlone(p, hash)
	}
	if !pushed {
		now := l.clock()
		if over, pushed = l.pushPinned(p, hash, now); !pushed {
			over = l.pushPlaced(p, hash, now)
		}
	}
	if over {
		l.budget.relieve()
	}
}

// pushPinned is push for the caller who does not hold mu.
func (l *Lanes) pushPinned(p *packet.Packet, hash uint32, now int64) (over, pinned bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.push(p, hash, now)
}

// pushPlaced pushes p on the lane that its flow is given now.
func (l *Lanes) pushPlaced(p *packet.Packet, hash uint32, now int64) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.place(hash, now)
	over, _ = l.push(p, hash, now)
	return over
}

// pushAlone is push as long as q is the only lane.
func (q *Queue) pushAlone(p *packet.Packet, hash uint32) (over, pushed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shared {
		return false, false
	}
	return q.push(p, hash), true
}

// push pushes p where its flow is, if that is known and may not have changed. The caller holds mu, be it for reading.
func (l *Lanes) push(p *packet.Packet, hash uint32, now int64) (over, pinned bool) {
	to := (*l.all.Load())[0]
	if l.pins != nil {
		at := &l.pins[hash%pins]
		used := at.used.Load()
		if at.lane == nil || now-used >= rest {
			return false, false
		}
		if now-used >= usedStep {
			at.used.Store(now)
		}
		to = at.lane
		to.now.Add(int64(p.Len()))
	}
	return to.queue.pushOne(p, hash), true
}

// place finds the lane for a packet that comes now of flows that have rested. The caller holds mu, as for all that follows.
func (l *Lanes) place(hash uint32, now int64) {
	if l.pins == nil {
		return
	}
	at := &l.pins[hash%pins]
	if at.lane != nil && now-at.used.Load() < rest { // another has placed it
		return
	}
	best := l.lightest(now)
	if at.lane == nil || best != at.lane && at.lane.queue.passed(hash%pins, now) {
		at.lane = best
	}
	at.used.Store(now)
}

// lightest returns the lane with the least load, and of several such the first.
func (l *Lanes) lightest(now int64) *lane {
	all := *l.all.Load()
	if since := now - l.rotated; since >= rest {
		for _, lane := range all {
			lane.last = int64(float64(lane.now.Swap(0)) * float64(rest) / float64(since))
		}
		l.rotated = now
	}
	for _, lane := range all {
		lane.load = lane.now.Load() + lane.last
	}
	for i := range l.pins {
		if at := &l.pins[i]; at.lane != nil && now-at.used.Load() < rest {
			at.lane.load += flowWeight
		}
	}
	return slices.MinFunc(all, func(a, b *lane) int { return cmp.Compare(a.load, b.load) })
}

// passed tells whether the flows of a pin that has rested can have nothing under way any more: nothing of them waits, and
// nothing that did leave can have been held up for as long as they have rested.
func (q *Queue) passed(pin uint32, now int64) bool {
	q.mu.Lock()
	held := q.slow != 0 && now-q.slow < rest
	for bucket := pin; bucket < buckets; bucket += pins {
		if f := q.flows[bucket]; f != nil && f.head != nil {
			held = true
		}
	}
	q.mu.Unlock()
	out := q.out.Load()
	return !held && (out == nil || out.prompt())
}

// Flush sends what waits, as far as the connections take it at once. It is called after Push, once for many. What is for
// further lanes leaves on goroutines of their own, so that TLS uses more than one core.
func (l *Lanes) Flush() {
	if q := l.only.Load(); q != nil {
		q.Flush()
		return
	}
	var due *output
	for _, lane := range *l.all.Load() {
		out := lane.queue.out.Load()
		if out == nil || !out.due() {
			continue
		}
		if due != nil {
			due.kickAside()
		}
		due = out
	}
	if due != nil {
		due.kick()
	}
}

// Join returns the queue of another lane, for one Conn.Run. Whoever has it gives it back with Leave. What has waited for a
// first lane is in it.
func (l *Lanes) Join() *Queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.all.Load()
	if !l.joined {
		l.joined = true
		return all[0].queue
	}
	if l.pins == nil {
		l.pins = new([pins]pin)
		for i := range l.pins { // each may have something under way
			l.pins[i].lane = all[0]
			l.pins[i].used.Store(l.clock())
		}
		all[0].queue.share(true)
		l.only.Store(nil)
	}
	q := newQueue(0, l.clock) // set gives it its limit
	q.shared, q.budget, q.owner, q.lanes, q.allowance = true, l.budget, l.owner, l, l.allowance
	l.set(append(slices.Clone(all), &lane{queue: q}))
	return q
}

// set replaces the lanes.
func (l *Lanes) set(all []*lane) {
	l.all.Store(&all)
	for _, lane := range all {
		lane.queue.resize(max(l.limit/len(all), min(l.limit, laneRoom)))
	}
}

// roomOf returns how many bytes of buffers q may hold beyond its share: what the other lanes' queues leave of the limit. One flow
// is on one lane, and needs as long a queue there as if it were alone.
func (l *Lanes) roomOf(q *Queue) int {
	if l == nil {
		return q.limit
	}
	room := l.limit
	for _, lane := range *l.all.Load() {
		if lane.queue != q {
			room -= int(lane.queue.shown.Load())
		}
	}
	return room
}

// Leave says that the lane of q, which Join has returned, is lost, and its Run over. What waits in q goes to the other
// lanes; when there is none, it waits there for the next.
func (l *Lanes) Leave(q *Queue) {
	l.leave(q)
	l.Flush()
}

func (l *Lanes) leave(q *Queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.all.Load()
	if len(all) == 1 {
		l.joined = false
		return
	}
	i := slices.IndexFunc(all, func(l *lane) bool { return l.queue == q })
	left := all[i]
	l.set(slices.Delete(slices.Clone(all), i, i+1))
	now := l.clock()
	for i := range l.pins {
		if at := &l.pins[i]; at.lane == left {
			at.lane = l.lightest(now)
		}
	}
	for _, p := range q.Salvage(movable) {
		hash := packet.FlowHash(p.IP())
		to := l.pins[hash%pins].lane.queue
		to.pushOne(p, hash)
		l.pins[hash%pins].used.Store(now)
	}
	l.gone.add(q.Drops())
	if all := *l.all.Load(); len(all) == 1 {
		l.pins = nil
		all[0].queue.share(false)
		l.only.Store(all[0].queue)
	}
}

// Salvage is that of the Queue, of all lanes.
func (l *Lanes) Salvage(fresh time.Duration) (kept []*packet.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range *l.all.Load() {
		kept = append(kept, lane.queue.Salvage(fresh)...)
	}
	return kept
}

// Drops returns what has been dropped and marked so far, on all lanes.
func (l *Lanes) Drops() Drops {
	l.mu.RLock()
	defer l.mu.RUnlock()
	sum := l.gone
	for _, lane := range *l.all.Load() {
		sum.add(lane.queue.Drops())
	}
	return sum
}

// Held returns the bytes of buffers that packets take which wait, and those of the connections' buffers that wait with something
// in them.
func (l *Lanes) Held() (bytes int64) {
	for _, lane := range *l.all.Load() {
		bytes += lane.queue.held()
	}
	return bytes
}

// Close frees what is waiting. Nobody may have a lane, or join, after.
func (l *Lanes) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lane := range *l.all.Load() {
		lane.queue.Close()
	}
}

func (d *Drops) add(more Drops) {
	d.Full += more.Full
	d.Memory += more.Memory
	d.CoDel += more.CoDel
	d.Marked += more.Marked
	d.Stale += more.Stale
	d.Cut += more.Cut
}

// share says whether there are other lanes beside q.
func (q *Queue) share(shared bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shared = shared
}

// resize sets how many bytes of buffers q may hold; what is too much goes when the next packet comes.
func (q *Queue) resize(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
}

// cut counts packets that were on their way out.
func (q *Queue) cut(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drops.Cut += uint64(n)
}
