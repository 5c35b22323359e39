// Package fq queues packets for connections fairly: FQ-CoDel (RFC 8290) among the flows to one
// peer, and a memory budget for the queues of all peers.
package fq

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq/delay"
	"tunnel/transport/fq/meter"
)

// Queue holds the packets to one peer (the seed's data channel) and schedules them by FQ-CoDel (RFC
// 8290). Each flow has a queue of its own. The queues are served by deficit round robin, new flows
// first. CoDel drops or marks packets of a flow with a standing queue until its sender slows down.
// Push never blocks: the reader of the TUN device must not wait for a slow peer. Any number of
// goroutines may push and flush; one pops.
type Queue struct {
	// bytes of packet buffers; with subflows more, as far as the other queues leave room
	limit    int
	clock    func() int64 // nanoseconds
	budget   *Budget      // shared with other queues; nil for none
	owner    string       // whose turns its connection takes
	meter    *meter.Meter // of what leaves it and is dropped; nil for none
	subflows *Subflows    // that q is part of; nil for none
	// buffered, to within shownStep, for the other queues of subflows
	shown  atomic.Int64
	sink   atomic.Pointer[Sink] // the connection; nil while there is none
	length atomic.Int64         // number of packets

	allowance *Allowance // of the connection's kernel buffers; nil for none

	mu       sync.Mutex
	interval int64 // of CoDel, as is target, in nanoseconds
	target   int64
	flows    map[uint32]*flow // by hash bucket; only those with packets or in a list
	newFlows turns            // flows that have just begun; served first
	oldFlows turns
	spare    *flow // flows for reuse, linked by next
	buffered int   // bytes of packet buffers
	charged  int   // bytes charged to the budget for packets
	pinned   int   // bytes charged to the budget for the connection's buffers, see Hold
	drops    Drops
	shared   bool  // q is not the only subflow of Subflows: see pushAlone
	slow     int64 // when a packet last left after more than drainedIn; 0 for never
}

// Drops counts the packets that were dropped or marked, and how long others have waited.
type Drops struct {
	Full uint64 // dropped: the queue was full
	// dropped: the Budget was exceeded, and this queue held more than its share
	Memory uint64
	CoDel  uint64          // dropped by CoDel: the delay was above target for an interval
	Marked uint64          // CE marked instead (RFC 3168)
	Stale  uint64          // dropped by TakeFresh: too old when the peer came back
	Cut    uint64          // lost: being sent when the connection broke
	Delays delay.Histogram // of the first packet of each Pop, which reads the clock anyway
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

// PeerLimit is the limit of the queue to one peer, in bytes of packet buffers.
const PeerLimit = 8 << 20

const (
	// quantum is how many bytes a flow may send in its turn: an Ethernet frame (RFC 8290 section 5.2).
	quantum = 1514
	// buckets is the number of hash buckets: flows in one bucket share a queue.
	buckets = 1024
)

// NewQueue returns an empty queue that holds up to limit bytes of packet buffers.
func NewQueue(limit int) *Queue {
	start := time.Now()
	return newQueue(limit, func() int64 { return int64(time.Since(start)) })
}

func newQueue(limit int, clock func() int64) *Queue {
	return &Queue{limit: limit, clock: clock, interval: int64(MinInterval),
		target: int64(MinTarget)}
}

// Push appends p, which q then owns, to its flow.
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

// Flush sends the waiting packets until the socket would block; the connection sends the rest by
// itself. Callers flush once after many pushes.
func (q *Queue) Flush() {
	if s := q.out(); s != nil {
		s.Flush()
	}
}

// popMost bounds the packets of one Pop: the buffer of a small packet is many times its size.
const popMost = 512

// Pop moves packets into b until it holds about most bytes or popMost packets; at least one packet
// if there is one.
func (q *Queue) Pop(b *packet.Batch, most int) {
	now, tap := q.clock(), q.meter.Tap()
	q.mu.Lock()
	defer q.mu.Unlock()
	for b.Size() < most && b.Len() < popMost {
		p := q.next(now)
		if p == nil {
			return
		}
		if b.Len() == 0 {
			q.drops.Delays.Note(time.Duration(now - p.Queued))
		}
		if len(tap) > 0 {
			tap.Sent(p, time.Duration(now-p.Queued))
		}
		b.Add(p)
	}
}

// show publishes about how many bytes q holds, for the other queues of its subflows.
func (q *Queue) show() {
	if held := int64(q.buffered); max(held-q.shown.Load(), q.shown.Load()-held) >= shownStep {
		q.shown.Store(held)
	}
}

// Drops returns the counts of dropped and marked packets so far.
func (q *Queue) Drops() Drops {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.drops
}

// Close frees the packets. Pop must not be called after it.
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

// next returns the next packet by the deficit round robin of RFC 8290 section 4.2. The caller holds
// mu, as for all functions below.
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
				// it must not become a new flow again before the others had their turns
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

// begin returns a new flow for the bucket.
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

// end removes a flow that has no packets and is in no list.
func (q *Queue) end(f *flow) {
	delete(q.flows, f.bucket)
	f.next, f.tail = q.spare, nil // another queue may have the packet by now
	q.spare = f
}

// dropFattest drops a packet from the head of the largest flow, so that the flow that fills the
// queue has the loss.
func (q *Queue) dropFattest() {
	var fattest *flow
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
		for f := list.head; f != nil; f = f.next {
			if fattest == nil || f.bytes > fattest.bytes {
				fattest = f
			}
		}
	}
	p := q.take(fattest)
	q.meter.Dropped(p)
	p.Free()
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

// charge returns the bytes that p counts against a queue's limit: the larger of its buffer and its
// size on the wire.
func charge(p *packet.Packet) int { return max(p.Room(), p.Wire()) }

// A flow holds the packets of one hash bucket, in order.
type flow struct {
	head, tail *packet.Packet
	bytes      int // on the wire, as is deficit
	bucket     uint32
	deficit    int   // bytes that the flow may still send in its turn
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

// turns is a list of flows waiting for their turns.
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

func (t *turns) shift() { t.head = t.head.next }
