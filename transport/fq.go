package transport

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
)

// Queue holds the packets on their way to one peer (the seed's data channel): FQ-CoDel (RFC 8290). Every flow has a
// queue of its own, the queues take turns byte by byte, a flow that has just begun goes first, and a queue that stands
// loses packets, or has them marked, until its sender slows down. Push never blocks: whoever reads the TUN device must
// not wait for a slow peer. Any number of goroutines may push and flush; one pops.
type Queue struct {
	limit  int                    // bytes of buffers; with lanes more, if the other queues leave room
	clock  func() int64           // nanoseconds
	budget *Budget                // shared with other queues; nil is none
	owner  string                 // of its connection's turns
	lanes  *Lanes                 // nil for a queue of its own
	shown  atomic.Int64           // bytes of buffers, to within shownStep, for the other queues of lanes
	out    atomic.Pointer[output] // where the packets go; nil while there is no connection
	length atomic.Int64           // packets

	allowance *allowance // of the connection's buffers in the kernel; nil is none

	mu       sync.Mutex
	interval int64 // of CoDel, as is target
	target   int64
	flows    map[uint32]*flow // by hash bucket; only those with packets or with a turn to wait for
	fresh    turns            // flows that have just begun, before all others
	old      turns
	spare    *flow // flows to use again, linked by next
	buffered int   // bytes of buffers
	charged  int   // bytes of the budget, for packets
	pinned   int   // bytes of the budget, for the connection's buffers that wait with something in them
	drops    Drops
	shared   bool  // of Lanes, which has several or not this one any more: see pushAlone
	slow     int64 // when a packet left last that had waited for long, 0 for never
}

// Drops counts what did not leave a Queue as it came.
type Drops struct {
	Full   uint64 // dropped: the queue was full
	Memory uint64 // dropped: all queues of the Budget together held too much, and this one more than others
	CoDel  uint64 // dropped: the queue stood for too long
	Marked uint64 // CE marked instead (RFC 3168)
	Stale  uint64 // dropped: nobody waited for it any more when the peer came back
	Cut    uint64 // lost: on its way out when the connection broke
}

// LogValue implements slog.LogValuer: a group of the counts that are not zero.
func (d Drops) LogValue() slog.Value {
	var group []slog.Attr
	for _, c := range []struct {
		name  string
		count uint64
	}{
		{"full", d.Full}, {"memory", d.Memory}, {"codel", d.CoDel}, {"marked", d.Marked}, {"stale", d.Stale}, {"cut", d.Cut},
	} {
		if c.count > 0 {
			group = append(group, slog.Uint64(c.name, c.count))
		}
	}
	return slog.GroupValue(group...)
}

const (
	// quantum is the bytes of a flow's turn (RFC 8290 section 5.2): one packet of an Ethernet.
	quantum = 1514
	// buckets is how many flows are told apart.
	buckets = 1024
)

// NewQueue returns an empty queue whose packets take up to limit bytes of buffers.
func NewQueue(limit int) *Queue {
	start := time.Now()
	return newQueue(limit, func() int64 { return int64(time.Since(start)) })
}

func newQueue(limit int, clock func() int64) *Queue {
	return &Queue{limit: limit, clock: clock, interval: minInterval, target: minTarget}
}

// Push takes p over and puts it at the end of its flow.
func (q *Queue) Push(p *packet.Packet) {
	if q.pushOne(p, packet.FlowHash(p.IP())) {
		q.budget.relieve()
	}
}

// pushOne is push for the caller who does not hold mu.
func (q *Queue) pushOne(p *packet.Packet, hash uint32) (over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.push(p, hash)
}

// push is Push for the caller who holds mu and knows the flow's hash. It reports whether the caller has to relieve the budget
// when it holds no lock any more.
func (q *Queue) push(p *packet.Packet, hash uint32) (over bool) {
	bucket := hash % buckets
	p.Queued = q.clock()
	f := q.flows[bucket]
	if f == nil {
		f = q.begin(bucket)
	}
	f.push(p)
	q.buffered += charge(p)
	q.length.Add(1)
	q.show()
	for q.buffered > q.limit && q.Len() > 1 && q.buffered > q.lanes.roomOf(q) {
		q.dropFattest()
	}
	return q.buffered > q.charged && q.budget != nil && q.charge()
}

// Len returns how many packets wait.
func (q *Queue) Len() int { return int(q.length.Load()) }

// Flush sends what waits, as far as the connection takes it at once; a connection that has enough goes on by itself.
// It is called after Push, once for many.
func (q *Queue) Flush() {
	if o := q.out.Load(); o != nil {
		o.kick()
	}
}

// attach makes o the way out; only one is at a time.
func (q *Queue) attach(o *output) { q.out.Store(o) }

// detach ends o's being the way out.
func (q *Queue) detach(o *output) { q.out.CompareAndSwap(o, nil) }

// popMost is how many packets Pop moves: small ones have buffers many times their size.
const popMost = 512

// Pop moves packets into b until it holds about most bytes or popMost packets, at least one packet
// if one is there.
func (q *Queue) Pop(b *packet.Batch, most int) {
	now := q.clock()
	q.mu.Lock()
	defer q.mu.Unlock()
	for b.Size() < most && b.Len() < popMost {
		p := q.next(now)
		if p == nil {
			return
		}
		b.Add(p)
	}
}

// show lets the other queues of its lanes know about how much q holds.
func (q *Queue) show() {
	if held := int64(q.buffered); max(held-q.shown.Load(), q.shown.Load()-held) >= shownStep {
		q.shown.Store(held)
	}
}

// Drops returns what has been dropped and marked so far.
func (q *Queue) Drops() Drops {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drops
}

// Close frees what is waiting. Nobody may pop after.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.refund()
	for _, list := range []*turns{&q.fresh, &q.old} {
		for f := list.head; f != nil; f = f.next {
			for p := q.take(f); p != nil; p = q.take(f) {
				p.Free()
			}
		}
	}
}

// next returns the packet whose turn it is: the deficit round robin of RFC 8290 section 4.2. The caller holds mu, as
// for all that follows.
func (q *Queue) next(now int64) *packet.Packet {
	for {
		list := &q.fresh
		if list.head == nil {
			list = &q.old
		}
		f := list.head
		if f == nil {
			return nil
		}
		if f.deficit <= 0 {
			f.deficit += quantum
			list.shift()
			q.old.push(f)
			continue
		}
		p := q.dequeue(f, now)
		if p == nil {
			list.shift()
			if list == &q.fresh && q.old.head != nil {
				q.old.push(f) // it must not come back as a fresh one before the others had their turn
			} else {
				q.end(f)
			}
			continue
		}
		f.deficit -= p.Wire()
		return p
	}
}

// begin makes a flow whose first packet is coming.
func (q *Queue) begin(bucket uint32) *flow {
	f := q.spare
	if f == nil {
		f = &flow{}
	} else {
		q.spare = f.next
		*f = flow{}
	}
	f.bucket, f.deficit = bucket, quantum
	if q.flows == nil {
		q.flows = map[uint32]*flow{}
	}
	q.flows[bucket] = f
	q.fresh.push(f)
	return f
}

// end forgets a flow that has no packets and no turn to wait for.
func (q *Queue) end(f *flow) {
	delete(q.flows, f.bucket)
	f.next = q.spare
	q.spare = f
}

// dropFattest drops from the head of the flow that holds most: whoever fills the queue pays for it.
func (q *Queue) dropFattest() {
	var fattest *flow
	for _, list := range []*turns{&q.fresh, &q.old} {
		for f := list.head; f != nil; f = f.next {
			if fattest == nil || f.bytes > fattest.bytes {
				fattest = f
			}
		}
	}
	q.take(fattest).Free()
	q.drops.Full++
}

// take removes the first packet of f, nil if there is none.
func (q *Queue) take(f *flow) *packet.Packet {
	p := f.shift()
	if p != nil {
		q.buffered -= charge(p)
		q.length.Add(-1)
		q.show()
	}
	return p
}

// charge returns what p counts for against a queue's limit: its buffer, or what it becomes if that is more.
func charge(p *packet.Packet) int { return max(p.Room(), p.Wire()) }

// A flow is the packets of one hash bucket, in order.
type flow struct {
	head, tail *packet.Packet
	bytes      int // on the wire, as is deficit
	bucket     uint32
	deficit    int   // bytes that it may send before its turn ends
	next       *flow // in turns or spare
	codel      codel
}

func (f *flow) push(p *packet.Packet) {
	if f.head == nil {
		f.head = p
	} else {
		f.tail.Next = p
	}
	f.tail = p
	f.bytes += p.Wire()
}

func (f *flow) shift() *packet.Packet {
	p := f.head
	if p != nil {
		f.head, p.Next = p.Next, nil
		f.bytes -= p.Wire()
	}
	return p
}

// turns is a list of flows that wait for their turn.
type turns struct{ head, tail *flow }

func (t *turns) push(f *flow) {
	f.next = nil
	if t.head == nil {
		t.head = f
	} else {
		t.tail.next = f
	}
	t.tail = f
}

func (t *turns) shift() {
	t.head = t.head.next
}
