// Package fq is fair queueing of packets on their way to a connection: FQ-CoDel (RFC 8290) for the
// flows to one peer, a budget of memory for all peers, and turns for those who read.
package fq

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
)

// Queue holds the packets on their way to one peer (the seed's data channel): FQ-CoDel (RFC 8290).
// Every flow has a queue of its own, the queues take turns byte by byte, a flow that has just begun
// goes first, and a queue that stands loses packets, or has them marked, until its sender slows
// down. Push never blocks: the reader of the TUN device must not wait for a slow peer. Any number
// of goroutines may push and flush; one pops.
type Queue struct {
	// bytes of buffers; with subflows more, if the other queues leave room
	limit    int
	clock    func() int64 // nanoseconds
	budget   *Budget      // shared with other queues; nil is none
	owner    string       // of its connection's turns
	subflows *Subflows    // nil for a queue of its own
	// bytes of buffers, to within shownStep, for the other queues of subflows
	shown  atomic.Int64
	sink   atomic.Pointer[Sink] // where the packets go; nil while there is no connection
	length atomic.Int64         // packets

	allowance *Allowance // of the connection's buffers in the kernel; nil is none

	mu       sync.Mutex
	interval int64 // of CoDel, as is target
	target   int64
	flows    map[uint32]*flow // by hash bucket; only those with packets or with a turn to wait for
	newFlows turns            // flows that have just begun, before all others
	oldFlows turns
	spare    *flow // flows to use again, linked by next
	buffered int   // bytes of buffers
	charged  int   // bytes of the budget, for packets
	// bytes of the budget, for the connection's buffers that wait with something in them
	pinned int
	drops  Drops
	shared bool  // of Subflows, which has several or not this one any more: see pushAlone
	slow   int64 // when a packet left last that had waited for long, 0 for never
}

// Drops counts what did not leave a Queue as it came.
type Drops struct {
	Full uint64 // dropped: the queue was full
	// dropped: all queues of the Budget together held too much, and this one more than others
	Memory uint64
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
		{"full", d.Full}, {"memory", d.Memory}, {"codel", d.CoDel}, {"marked", d.Marked},
		{"stale", d.Stale}, {"cut", d.Cut},
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
	return &Queue{limit: limit, clock: clock, interval: int64(MinInterval),
		target: int64(MinTarget)}
}

// Push takes p over and puts it at the end of its flow.
func (q *Queue) Push(p *packet.Packet) {
	if q.pushOne(p, packet.FlowHash(p.IP())) {
		q.budget.cutDown()
	}
}

// pushOne is push for a caller that does not hold mu.
func (q *Queue) pushOne(p *packet.Packet, hash uint32) (over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.push(p, hash)
}

// push is Push for a caller that holds mu and knows the flow's hash. It reports whether the caller
// must call the budget's cutDown after it has released its locks.
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
	for q.buffered > q.limit && q.Len() > 1 && q.buffered > q.subflows.roomOf(q) {
		q.dropFattest()
	}
	return q.buffered > q.charged && q.budget != nil && q.charge()
}

// Len returns how many packets wait.
func (q *Queue) Len() int { return int(q.length.Load()) }

// Flush sends what waits, as far as the connection takes it at once; a connection that has enough
// goes on by itself. It is called after Push, once for many.
func (q *Queue) Flush() {
	if s := q.out(); s != nil {
		s.Flush()
	}
}

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

// show lets the other queues of its subflows know about how much q holds.
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
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
		for f := list.head; f != nil; f = f.next {
			for p := q.take(f); p != nil; p = q.take(f) {
				p.Free()
			}
		}
	}
}

// next returns the packet whose turn it is: the deficit round robin of RFC 8290 section 4.2. The
// caller holds mu, as for all that follows.
func (q *Queue) next(now int64) *packet.Packet {
	for {
		list := &q.newFlows
		if list.head == nil {
			list = &q.oldFlows
		}
		f := list.head
		if f == nil {
			return nil
		}
		if f.deficit <= 0 {
			f.deficit += quantum
			list.shift()
			q.oldFlows.push(f)
			continue
		}
		p := q.dequeue(f, now)
		if p == nil {
			list.shift()
			if list == &q.newFlows && q.oldFlows.head != nil {
				// it must not come back as a new one before the others had their turn
				q.oldFlows.push(f)
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
	q.newFlows.push(f)
	return f
}

// end forgets a flow that has no packets and no turn to wait for.
func (q *Queue) end(f *flow) {
	delete(q.flows, f.bucket)
	f.next = q.spare
	q.spare = f
}

// dropFattest drops from the head of the flow that holds most: the flow that fills the queue pays
// for it.
func (q *Queue) dropFattest() {
	var fattest *flow
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
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

// charge returns what p counts for against a queue's limit: its buffer, or what it becomes if that
// is more.
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
