package fq

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Budget bounds the memory that several queues hold together, with what the buffers of their
// connections hold besides. When that is more than the limit, the queues that hold most lose
// packets, each at the head of the flow that has most in it, until all is below again (RFC 8290
// section 4.1.3 does so within one queue). A queue that holds no more than its fair share, which is
// Share divided by the number of queues that hold something, never loses a packet to the others.
// What the buffers of connections in the kernel have grown by counts as well: see Allowance.
//
// A queue does not account for each packet: it charges the budget for some packets ahead, and keeps
// what it was charged when they have left, until the budget needs it. All methods are safe for
// concurrent use. The nil *Budget has no limit.
type Budget struct {
	limit   int64         // bytes; more is never charged for long
	share   int64         // bytes to which all is cut down when it was
	portion atomic.Int64  // bytes that a queue is charged ahead
	used    atomic.Int64  // bytes that are charged
	dropped atomic.Uint64 // packets
	// of the connections' buffers in the kernel, for which used is charged as well
	sockets Allowance
	surge   chan struct{} // holds a token when surgeFrom bytes were charged
	readers *readers      // of the readers, whose buffers are charged only while they wait

	// A queue's own lock may be held when list is taken, and none of them when cutting is: settle
	// takes theirs. Readers take cutting in callbacks of their sockets, and so the holder of
	// cutting must not wait for a socket or a reader: see tcp.Conn.Interrupt.
	cutting sync.Mutex
	all     []holding // of settle

	list   sync.Mutex
	queues map[*Queue]struct{} // those that are charged something
}

// ErrMemory says that a connection was ended because its buffers held more than its share of the
// Budget, with nothing left to drop.
var ErrMemory = errors.New("its buffers hold too much memory: the other side does not read, or " +
	"sends halves of messages")

// holding is what a queue holds, in bytes.
type holding struct {
	queue  *Queue
	packet int64 // of packets that wait
	other  int64 // of the connection's buffers, which cannot be dropped
}

func (h *holding) sum() int64 { return h.packet + h.other }

const (
	// slack is the part of the limit, as a divisor, that may be charged and not held: there is
	// nothing to do before so much is charged anew.
	slack = 16
	// A queue is charged between minPortion and maxPortion ahead, in bytes.
	minPortion = 2 << 10
	maxPortion = 64 << 10
	// surgeFrom is the bytes from which on it is worth to give memory back to the system after.
	surgeFrom = 16 << 20
)

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	b := &Budget{limit: limit, share: limit - limit/slack, surge: make(chan struct{}, 1),
		queues: map[*Queue]struct{}{}}
	b.readers = newReaders(limit / slack)
	b.sockets.limit, b.sockets.budget = limit/allowanceShare, b
	b.portion.Store(b.portionFor(0))
	return b
}

// NewQueue returns an empty queue whose packets take up to limit bytes of buffers, and no more than
// b allows.
func (b *Budget) NewQueue(limit int) *Queue {
	q := NewQueue(limit)
	if q.budget = b; b != nil {
		q.allowance = &b.sockets
	}
	return q
}

// NewSubflows returns Subflows without a connection whose packets take up to limit bytes of
// buffers, see NewSubflows, and no more than b allows. All Subflows of one owner, a token's ID for
// example, have one fair share of the turns to read.
func (b *Budget) NewSubflows(limit int, owner string) *Subflows {
	l := NewSubflows(limit)
	if b != nil {
		l.allowance = &b.sockets
	}
	q := l.only.Load()
	l.owner, l.budget, q.owner, q.budget, q.allowance = owner, b, owner, b, l.allowance
	return l
}

// Share returns the bytes to which all is cut down when that is too much; 0 is no limit.
func (b *Budget) Share() int64 {
	if b == nil {
		return 0
	}
	return b.share
}

// Surge has a token when much more memory than usual may be held: see Settle.
func (b *Budget) Surge() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.surge
}

// Dropped returns how many packets queues have lost because all together held too much.
func (b *Budget) Dropped() uint64 {
	if b == nil {
		return 0
	}
	return b.dropped.Load()
}

// Settle cuts the queues down if they hold too much, and returns how many bytes they hold.
func (b *Budget) Settle() (held int64) {
	if b == nil {
		return 0
	}
	b.cutting.Lock()
	defer b.cutting.Unlock()
	return b.settle()
}

// cutDown cuts the queues down if more is charged than there may be. The caller holds no queue's
// lock.
func (b *Budget) cutDown() {
	b.cutting.Lock()
	defer b.cutting.Unlock()
	if b.used.Load() > b.limit { // nobody else has done it meanwhile
		b.settle()
	}
}

// short reports whether memory is scarce: buffers that wait with something in them had better be no
// larger than that.
func (b *Budget) short() bool { return b != nil && b.used.Load() > b.limit/2 }

// charge charges n bytes, which may be negative, and reports whether that is too much: then cutDown
// must be called when no lock is held any more.
func (b *Budget) charge(n int64) (over bool) {
	used := b.used.Add(n)
	if n > 0 && used > surgeFrom && used-n <= surgeFrom || used > b.limit {
		select {
		case b.surge <- struct{}{}:
		default:
		}
	}
	return used > b.limit
}

// settle is Settle for the caller who holds cutting.
func (b *Budget) settle() (held int64) {
	b.list.Lock()
	b.all = b.all[:0]
	for q := range b.queues {
		b.all = append(b.all, holding{queue: q})
	}
	b.portion.Store(b.portionFor(len(b.all)))
	b.list.Unlock()
	defer func() { clear(b.all) }() // the queues may go
	for i := range b.all {
		h := &b.all[i]
		h.packet, h.other = h.queue.settle()
		held += h.sum()
	}
	sockets := b.sockets.used.Load()
	if held <= b.share-sockets {
		return held
	}
	level := level(b.all, b.share-sockets)
	for i := range b.all {
		if h := &b.all[i]; h.sum() > level {
			freed, packets := h.queue.shed(max(level-h.other, 0))
			held -= freed
			b.dropped.Add(packets)
		}
	}
	if over := held + sockets - b.limit; over > 0 {
		held -= b.end(over, level)
	}
	return held
}

// end ends connections whose buffers alone hold more than level, those with the most first, until
// that sets most bytes free. It returns how many it will: the connections give them back
// themselves. Without packets to drop there is nothing else left to do. The caller holds cutting.
func (b *Budget) end(most, level int64) (freed int64) {
	slices.SortFunc(b.all, func(a, b holding) int { return cmp.Compare(b.other, a.other) })
	for i := range b.all {
		h := &b.all[i]
		if freed >= most || h.other <= level {
			break
		}
		if out := h.queue.out(); out != nil {
			out.Fail(ErrMemory)
			freed += h.other
		}
	}
	return freed
}

// level returns up to how much each may hold for all to hold no more than total: a queue that holds
// less counts for what he holds.
func level(all []holding, total int64) int64 {
	slices.SortFunc(all, func(a, b holding) int { return cmp.Compare(a.sum(), b.sum()) })
	for i := range all {
		share := total / int64(len(all)-i)
		if all[i].sum() > share {
			return share
		}
		total -= all[i].sum()
	}
	return total
}

// portionFor returns how much a queue is charged ahead when there are n: all together no more than
// the slack.
func (b *Budget) portionFor(n int) int64 {
	return min(max(b.limit/slack/int64(n+1), minPortion), maxPortion)
}

// join makes q one of those that are charged something.
func (b *Budget) join(q *Queue) {
	b.list.Lock()
	b.queues[q] = struct{}{}
	b.list.Unlock()
}

// leave undoes join.
func (b *Budget) leave(q *Queue) {
	b.list.Lock()
	delete(b.queues, q)
	b.list.Unlock()
}
