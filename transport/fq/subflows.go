package fq

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
)

// Subflows holds the packets on their way to one peer over one or several connections, its
// subflows: a Queue for each. A flow stays on its subflow, so that its packets stay in order; it
// gets another when it has rested, if that evens the load, or when its subflow is lost, and then
// what waits goes with it. Push, Flush and the others may be called by any number of goroutines.
type Subflows struct {
	limit     int
	budget    *Budget    // of the queues
	allowance *Allowance // of the connections' buffers in the kernel
	owner     string     // of the connections' turns
	clock     func() int64
	only      atomic.Pointer[Queue]      // of the one subflow; nil while there are several
	all       atomic.Pointer[[]*subflow] // never empty, never changed, only replaced

	mu      sync.RWMutex // held to push, for writing to change what follows
	joined  bool         // the last subflow is somebody's; packets wait in its queue if not
	pins    *[pins]pin   // where flows are, by their hashes; nil for one subflow
	rotated int64        // when the counting of bytes began anew
	gone    Drops        // of subflows that were lost
}

// A subflow is one connection's part of Subflows.
type subflow struct {
	queue *Queue
	now   atomic.Int64 // bytes that were pushed since Subflows.rotated
	last  int64        // and in a second before that
	bytes int64        // of leastLoaded
}

// A pin holds the flows of one bucket to a subflow.
type pin struct {
	subflow *subflow     // nil is none yet
	used    atomic.Int64 // when a packet came last, in nanoseconds of the clock, to within usedStep
}

const (
	// pins divides buckets, so that all flows of a queue's bucket have one pin.
	pins = 256
	// usedStep is how exact pin.used is: it is not written for each packet.
	usedStep = int64(10 * time.Millisecond)
	// rest is after which time without a packet a flow may get another subflow.
	rest = int64(time.Second)
	// drainedIn is the longest that packets wait in a queue, or bytes in a socket, of a subflow
	// that flows may leave.
	drainedIn = int64(250 * time.Millisecond)
	// flowWeight is what a flow counts for beside the bytes of the last seconds: it decides while
	// there is no load.
	flowWeight = 16 << 10
	// subflowRoom is how many bytes of buffers each subflow may hold at least.
	subflowRoom = 1 << 20
	// shownStep is how exact, in bytes, Queue.shown is: it is not written for each packet.
	shownStep = 64 << 10
	// movable is how long a packet may have waited for a subflow that was lost, see
	// Queue.TakeFresh.
	movable = 2 * time.Second
)

// NewSubflows returns Subflows without a connection, whose packets take up to limit bytes of
// buffers. Each of several subflows has a share of that, 1 MiB at least, and what the others leave
// free.
func NewSubflows(limit int) *Subflows {
	q := NewQueue(limit)
	l := &Subflows{limit: limit, clock: q.clock, allowance: &Allowance{limit: sessionAllowance}}
	q.subflows, q.allowance = l, l.allowance
	l.only.Store(q)
	l.all.Store(&[]*subflow{{queue: q}})
	return l
}

// Push takes p over and puts it at the end of its flow.
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

// pushPinned is push for the caller who does not hold mu.
func (l *Subflows) pushPinned(p *packet.Packet, hash uint32, now int64) (over, pinned bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.push(p, hash, now)
}

// pushAssigned pushes p on the subflow that its flow is given now.
func (l *Subflows) pushAssigned(p *packet.Packet, hash uint32, now int64) (over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.assign(hash, now)
	over, _ = l.push(p, hash, now)
	return over
}

// pushAlone is push as long as q is the only subflow.
func (q *Queue) pushAlone(p *packet.Packet, hash uint32) (over, pushed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.shared {
		return false, false
	}
	return q.push(p, hash), true
}

// push pushes p where its flow is, if that is known and may not have changed. The caller holds mu,
// for reading at least.
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

// assign finds the subflow for a packet that comes now of flows that have rested. The caller holds
// mu, as for all that follows.
func (l *Subflows) assign(hash uint32, now int64) {
	if l.pins == nil {
		return
	}
	at := &l.pins[hash%pins]
	if at.subflow != nil && now-at.used.Load() < rest { // another has placed it
		return
	}
	best := l.leastLoaded(now)
	if at.subflow == nil || best != at.subflow && at.subflow.queue.passed(hash%pins, now) {
		at.subflow = best
	}
	at.used.Store(now)
}

// leastLoaded returns the subflow with the least load, and of several such the first.
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

// passed tells whether the flows of a pin that has rested can have nothing under way any more:
// nothing of them waits, and nothing that did leave can have been held up for as long as they have
// rested.
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

// Flush sends what waits, as far as the connections take it at once. It is called after Push, once
// for many. What is for further subflows leaves on goroutines of their own, so that TLS uses more
// than one core.
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

// Join returns the queue of another subflow, for one Conn.Run. The caller gives it back with
// Leave. What has waited for a first subflow is in it.
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
		for i := range l.pins { // each may have something under way
			l.pins[i].subflow = all[0]
			l.pins[i].used.Store(l.clock())
		}
		all[0].queue.share(true)
		l.only.Store(nil)
	}
	q := newQueue(0, l.clock) // set gives it its limit
	q.shared, q.budget, q.owner, q.subflows, q.allowance = true, l.budget, l.owner, l, l.allowance
	l.set(append(slices.Clone(all), &subflow{queue: q}))
	return q
}

// set replaces the subflows.
func (l *Subflows) set(all []*subflow) {
	l.all.Store(&all)
	for _, subflow := range all {
		subflow.queue.resize(max(l.limit/len(all), min(l.limit, subflowRoom)))
	}
}

// roomOf returns how many bytes of buffers q may hold beyond its share: what the other subflows'
// queues leave of the limit. One flow is on one subflow, and needs as long a queue there as if it
// were alone.
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

// Leave says that the subflow of q, which Join has returned, is lost, and its Run over. What waits
// in q goes to the other subflows; when there is none, it waits there for the next.
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
	for _, p := range q.TakeFresh(movable) {
		hash := packet.FlowHash(p.IP())
		to := l.pins[hash%pins].subflow.queue
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

// TakeFresh is that of the Queue, of all subflows.
func (l *Subflows) TakeFresh(age time.Duration) (kept []*packet.Packet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, subflow := range *l.all.Load() {
		kept = append(kept, subflow.queue.TakeFresh(age)...)
	}
	return kept
}

// Drops returns what has been dropped and marked so far, on all subflows.
func (l *Subflows) Drops() Drops {
	l.mu.RLock()
	defer l.mu.RUnlock()
	sum := l.gone
	for _, subflow := range *l.all.Load() {
		sum.add(subflow.queue.Drops())
	}
	return sum
}

// Held returns the bytes of buffers that packets take which wait, and those of the connections'
// buffers that wait with something in them.
func (l *Subflows) Held() (bytes int64) {
	for _, subflow := range *l.all.Load() {
		bytes += subflow.queue.held()
	}
	return bytes
}

// Close frees what is waiting. Nobody may have a subflow, or join, after.
func (l *Subflows) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, subflow := range *l.all.Load() {
		subflow.queue.Close()
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

// share says whether there are other subflows beside q.
func (q *Queue) share(shared bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shared = shared
}

// resize sets how many bytes of buffers q may hold; what is too much goes when the next packet
// comes.
func (q *Queue) resize(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
}

// Cut counts packets that were on their way out.
func (q *Queue) Cut(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.drops.Cut += uint64(n)
}
