package fq

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq/meter"
)

// Subflows holds the packets to one peer over one or several connections, its subflows, with a
// Queue for each. A flow stays on its subflow, so that its packets stay in order. It is assigned to
// another after an idle period, if that evens the load, or when its subflow is lost; in that case
// its waiting packets move with it. All methods are safe for concurrent use.
type Subflows struct {
	limit     int
	budget    *Budget    // of the queues
	allowance *Allowance // of the connections' kernel buffers
	owner     string     // whose turns the connections take
	meter     *meter.Meter
	clock     func() int64
	only      atomic.Pointer[Queue]      // the queue of the one subflow; nil while there are several
	all       atomic.Pointer[[]*subflow] // never empty; replaced, never modified

	mu      sync.RWMutex // read-locked to push, locked to change the fields below
	joined  bool         // a connection has the last subflow; if not, packets wait in its queue
	pins    *[pins]pin   // the subflows of flows, by their hashes; nil for one subflow
	rotated int64        // when the byte counts of the subflows were last reset
	gone    Drops        // of subflows that were lost
}

// A subflow is one connection's part of Subflows.
type subflow struct {
	queue *Queue
	now   atomic.Int64 // bytes pushed since Subflows.rotated
	last  int64        // bytes pushed in the second before that
	bytes int64        // the load; scratch space of leastLoaded
}

// A pin assigns the flows of one bucket to a subflow.
type pin struct {
	subflow *subflow     // nil for none yet
	used    atomic.Int64 // when a packet was last pushed, to within usedStep
}

const (
	// pins divides buckets, so that all flows of a queue's bucket have one pin.
	pins = 256
	// usedStep is the precision of pin.used, which is not written for each packet.
	usedStep = int64(10 * time.Millisecond)
	// rest is the idle time after which a flow may be assigned to another subflow.
	rest = int64(time.Second)
	// drainedIn is the longest time that packets may have waited in the queue, or bytes in the
	// socket, of a subflow for its flows to be assigned to another.
	drainedIn = int64(250 * time.Millisecond)
	// flowWeight is how many bytes of load a flow counts for, besides the bytes of the last
	// seconds: it spreads flows while there is no load.
	flowWeight = 16 << 10
	// subflowRoom is the minimum share of each subflow, in bytes of packet buffers.
	subflowRoom = 1 << 20
	// shownStep is the precision of Queue.shown, in bytes, which is not written for each packet.
	shownStep = 64 << 10
)

// NewSubflows returns Subflows without a connection that hold up to limit bytes of packet buffers.
// Each of several subflows may hold an equal share of that, at least 1 MiB, and more as far as the
// others leave room.
func NewSubflows(limit int) *Subflows {
	q := NewQueue(limit)
	l := &Subflows{limit: limit, clock: q.clock, allowance: &Allowance{limit: sessionAllowance}}
	q.subflows, q.allowance = l, l.allowance
	l.only.Store(q)
	l.all.Store(&[]*subflow{{queue: q}})
	return l
}

// Measure has m measure the packets of l. It is called before the first Push and Join.
func (l *Subflows) Measure(m *meter.Meter) { l.meter, l.only.Load().meter = m, m }

// Push appends p, which l then owns, to its flow.
func (l *Subflows) Push(p *packet.Packet) {
	hash := packet.FlowHash(p.IP())
	var over, pushed bool
	if q := l.only.Load(); q != nil {
		over, pushed = q.pushAlone(p, hash)
	}
	if !pushed {
		now := l.clock()
		if over, pushed = l.pushPinned(p, hash, now); !pushed {
			over = l.pushAssigned(p, hash, now)
		}
	}
	if over {
		l.budget.cutDown()
	}
}

// pushPinned is push for a caller that does not hold mu.
func (l *Subflows) pushPinned(p *packet.Packet, hash uint32, now int64) (over, pinned bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.push(p, hash, now)
}

// pushAssigned assigns the flow of p to a subflow and pushes p there.
func (l *Subflows) pushAssigned(p *packet.Packet, hash uint32, now int64) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.assign(hash, now)
	over, _ = l.push(p, hash, now)
	return over
}

// pushAlone pushes p if q is the only subflow, and reports whether it is.
func (q *Queue) pushAlone(p *packet.Packet, hash uint32) (over, pushed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shared {
		return false, false
	}
	return q.push(p, hash), true
}

// push pushes p to the subflow of its flow. It does nothing and returns pinned false if the flow
// has no subflow or may get another. The caller holds mu, at least for reading.
func (l *Subflows) push(p *packet.Packet, hash uint32, now int64) (over, pinned bool) {
	to := (*l.all.Load())[0]
	if l.pins != nil {
		at := &l.pins[hash%pins]
		used := at.used.Load()
		if at.subflow == nil || now-used >= rest {
			return false, false
		}
		if now-used >= usedStep {
			at.used.Store(now)
		}
		to = at.subflow
		to.now.Add(int64(p.Len()))
	}
	return to.queue.pushOne(p, hash), true
}

// assign assigns the flows of a pin to a subflow, after an idle period or for the first time. The
// caller holds mu.
func (l *Subflows) assign(hash uint32, now int64) {
	if l.pins == nil {
		return
	}
	at := &l.pins[hash%pins]
	if at.subflow != nil && now-at.used.Load() < rest { // another goroutine has assigned them
		return
	}
	best := l.leastLoaded(now)
	if at.subflow == nil || best != at.subflow && at.subflow.queue.passed(hash%pins, now) {
		at.subflow = best
	}
	at.used.Store(now)
}

// leastLoaded returns the first subflow with the least load. The caller holds mu.
func (l *Subflows) leastLoaded(now int64) *subflow {
	all := *l.all.Load()
	if since := now - l.rotated; since >= rest {
		for _, subflow := range all {
			subflow.last = int64(float64(subflow.now.Swap(0)) * float64(rest) / float64(since))
		}
		l.rotated = now
	}
	for _, subflow := range all {
		subflow.bytes = subflow.now.Load() + subflow.last
	}
	for i := range l.pins {
		if at := &l.pins[i]; at.subflow != nil && now-at.used.Load() < rest {
			at.subflow.bytes += flowWeight
		}
	}
	return slices.MinFunc(all, func(a, b *subflow) int { return cmp.Compare(a.bytes, b.bytes) })
}

// passed reports whether all packets of the flows of an idle pin have reached the peer: none waits
// in q, and none can have been delayed, in q or the socket, for as long as the flows were idle.
func (q *Queue) passed(pin uint32, now int64) bool {
	q.mu.Lock()
	held := q.slow != 0 && now-q.slow < rest
	for bucket := pin; bucket < buckets; bucket += pins {
		if f := q.flows[bucket]; f != nil && f.head != nil {
			held = true
		}
	}
	q.mu.Unlock()
	out := q.out()
	return !held && (out == nil || out.Drained(time.Duration(drainedIn)))
}

// Flush sends the waiting packets until the sockets would block. Callers flush once after many
// pushes. All subflows but one send on goroutines of their own, so that TLS uses more than one
// core.
func (l *Subflows) Flush() {
	if q := l.only.Load(); q != nil {
		q.Flush()
		return
	}
	var due Sink
	for _, subflow := range *l.all.Load() {
		out := subflow.queue.out()
		if out == nil || !out.Due() {
			continue
		}
		if due != nil {
			due.FlushAside()
		}
		due = out
	}
	if due != nil {
		due.Flush()
	}
}

// Join returns the queue of a new subflow, for one ws.Conn.Run. The caller returns it with Leave.
// The first subflow's queue has the packets that have waited for it.
func (l *Subflows) Join() *Queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.all.Load()
	if !l.joined {
		l.joined = true
		return all[0].queue
	}
	if l.pins == nil {
		l.pins = new([pins]pin)
		for i := range l.pins { // each may have packets in flight
			l.pins[i].subflow = all[0]
			l.pins[i].used.Store(l.clock())
		}
		all[0].queue.share(true)
		l.only.Store(nil)
	}
	q := newQueue(0, l.clock) // set sets the limit
	q.shared, q.budget, q.owner, q.subflows, q.allowance = true, l.budget, l.owner, l, l.allowance
	q.meter = l.meter
	l.set(append(slices.Clone(all), &subflow{queue: q}))
	return q
}

// set replaces the subflows and sets their shares.
func (l *Subflows) set(all []*subflow) {
	l.all.Store(&all)
	for _, subflow := range all {
		subflow.queue.resize(max(l.limit/len(all), min(l.limit, subflowRoom)))
	}
}

// roomOf returns how many bytes of packet buffers q may hold: as many as the other subflows' queues
// leave of the limit, even beyond the share of q. A single flow, which uses one subflow, thus has
// as long a queue as without other subflows.
func (l *Subflows) roomOf(q *Queue) int {
	if l == nil {
		return q.limit
	}
	room := l.limit
	for _, subflow := range *l.all.Load() {
		if subflow.queue != q {
			room -= int(subflow.queue.shown.Load())
		}
	}
	return room
}

// Leave removes the subflow of q, which Join has returned, after its Run has ended. The packets in
// q move to the other subflows; if there is none, they stay in q for the next Join.
func (l *Subflows) Leave(q *Queue) {
	l.leave(q)
	l.Flush()
}

func (l *Subflows) leave(q *Queue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := *l.all.Load()
	if len(all) == 1 {
		l.joined = false
		return
	}
	i := slices.IndexFunc(all, func(l *subflow) bool { return l.queue == q })
	left := all[i]
	l.set(slices.Delete(slices.Clone(all), i, i+1))
	now := l.clock()
	for i := range l.pins {
		if at := &l.pins[i]; at.subflow == left {
			at.subflow = l.leastLoaded(now)
		}
	}
	for _, p := range q.TakeFresh(Fresh) {
		hash := packet.FlowHash(p.IP())
		to := l.pins[hash%pins].subflow.queue
		to.pushOne(p, hash)
		l.pins[hash%pins].used.Store(now)
	}
	l.gone.Add(q.Drops())
	if all := *l.all.Load(); len(all) == 1 {
		l.pins = nil
		all[0].queue.share(false)
		l.only.Store(all[0].queue)
	}
}

// TakeFresh is Queue.TakeFresh for the queues of all subflows.
func (l *Subflows) TakeFresh(age time.Duration) (kept []*packet.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, subflow := range *l.all.Load() {
		kept = append(kept, subflow.queue.TakeFresh(age)...)
	}
	return kept
}

// Drops returns the counts of dropped and marked packets so far, of all subflows.
func (l *Subflows) Drops() Drops {
	l.mu.RLock()
	defer l.mu.RUnlock()
	sum := l.gone
	for _, subflow := range *l.all.Load() {
		sum.Add(subflow.queue.Drops())
	}
	return sum
}

// Held returns how many bytes the queues hold: buffers of waiting packets, and the buffers of
// waiting connections, see Queue.Hold.
func (l *Subflows) Held() (bytes int64) {
	for _, subflow := range *l.all.Load() {
		bytes += subflow.queue.Held()
	}
	return bytes
}

// Close frees the packets. No connection may have a subflow then, and Join must not be called after
// it.
func (l *Subflows) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, subflow := range *l.all.Load() {
		subflow.queue.Close()
	}
}

// Add adds more to d.
func (d *Drops) Add(more Drops) {
	d.Full += more.Full
	d.Memory += more.Memory
	d.CoDel += more.CoDel
	d.Marked += more.Marked
	d.Stale += more.Stale
	d.Cut += more.Cut
	d.Delays.Add(more.Delays)
}

// share sets whether q has other subflows beside it.
func (q *Queue) share(shared bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shared = shared
}

// resize sets how many bytes of packet buffers q may hold. Packets beyond that are dropped at the
// next push.
func (q *Queue) resize(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
}

// Cut counts n packets that were being sent when the connection broke.
func (q *Queue) Cut(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drops.Cut += uint64(n)
}
