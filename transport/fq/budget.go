package fq

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"tunnel/transport/fq/turn"
)

// Budget bounds the memory that several queues and the buffers of their connections hold together,
// including the bytes by which kernel buffers have grown: see Allowance. Above the limit, the
// largest queues drop packets, each at the head of its largest flow, until the sum is at most Share
// (RFC 8290 section 4.1.3 does so within one queue). A queue never drops for the others while it
// holds at most its fair share: Share divided by the number of queues that are not empty.
//
// A queue does not charge the budget for each packet: it charges some bytes ahead, and keeps the
// charge until the budget needs it. Methods are safe for concurrent use. A nil one has no limit.
type Budget struct {
	limit   int64         // bytes; the charge exceeds it only briefly
	share   int64         // bytes to which the queues are cut down above limit
	portion atomic.Int64  // bytes that a queue charges ahead
	used    atomic.Int64  // bytes that are charged
	dropped atomic.Uint64 // packets
	// of the kernel buffers of the connections, which are included in used
	sockets Allowance
	surge   chan struct{} // holds a token after used has exceeded surgeFrom or limit
	surging atomic.Bool   // since that token, until Calm
	readers *turn.Readers // the turns of the readers, whose buffers are charged only while they wait

	// Lock order: cutting, then a queue's mu, then list. Code that holds a queue's mu must not take
	// cutting. Readers take cutting in callbacks of their sockets, and so the holder of cutting
	// must not wait for a socket or a reader: see tcp.Conn.Interrupt.
	cutting sync.Mutex
	all     []holding // scratch space of settle

	list   sync.Mutex
	queues map[*Queue]struct{} // the queues with a charge
}

// ErrMemory is the error of a connection that was ended because its buffers held more than its
// share of the Budget, and no packets were left to drop.
var ErrMemory = errors.New("its buffers hold too much memory: the other side does not read, or " +
	"sends halves of messages")

// holding is what a queue holds, in bytes.
type holding struct {
	queue  *Queue
	packet int64 // of the queued packets
	other  int64 // of the connection's buffers, which cannot be dropped
}

func (h *holding) sum() int64 { return h.packet + h.other }

const (
	// slack divides the limit: the quotient may be charged and not held. Queues are cut down by as
	// much, so that the next cut is due only after as many bytes were charged.
	slack      = 16
	minPortion = 2 << 10 // the least that a queue charges ahead, in bytes
	maxPortion = 64 << 10
	// surgeFrom is the charge, in bytes, after which it is worth returning memory to the system.
	surgeFrom = 16 << 20
)

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	b := &Budget{limit: limit, share: limit - limit/slack, surge: make(chan struct{}, 1),
		queues: map[*Queue]struct{}{}}
	b.readers = turn.NewReaders(limit / slack)
	b.sockets.limit, b.sockets.budget = limit/allowanceShare, b
	b.portion.Store(b.portionFor(0))
	return b
}

// NewQueue returns an empty queue that holds up to limit bytes of packet buffers, within b.
func (b *Budget) NewQueue(limit int) *Queue {
	q := NewQueue(limit)
	if q.budget = b; b != nil {
		q.allowance = &b.sockets
	}
	return q
}

// NewSubflows returns Subflows without a connection that hold up to limit bytes of packet buffers,
// as the function NewSubflows does, within b. All Subflows of one owner, a token's ID for example,
// share one fair share of the turns to read.
func (b *Budget) NewSubflows(limit int, owner string) *Subflows {
	l := NewSubflows(limit)
	if b != nil {
		l.allowance = &b.sockets
	}
	q := l.only.Load()
	l.owner, l.budget, q.owner, q.budget, q.allowance = owner, b, owner, b, l.allowance
	return l
}

// Share returns the bytes to which the queues are cut down above the limit; 0 means no limit.
func (b *Budget) Share() int64 {
	if b == nil {
		return 0
	}
	return b.share
}

// Surge receives a token when the charge is much larger than usual; no other before Calm.
func (b *Budget) Surge() <-chan struct{} {
	if b == nil {
		return nil
	}
	return b.surge
}

// Calm says that the receiver of the token has done what it had to.
func (b *Budget) Calm() { b.surging.Store(false) }

// Dropped returns how many packets queues have dropped to stay within the limit together.
func (b *Budget) Dropped() uint64 {
	if b == nil {
		return 0
	}
	return b.dropped.Load()
}

// Settle cuts the queues down if they exceed the limit, and returns how many bytes they hold.
func (b *Budget) Settle() (held int64) {
	if b == nil {
		return 0
	}
	b.cutting.Lock()
	defer b.cutting.Unlock()
	return b.settle()
}

// cutDown cuts the queues down if the charge exceeds the limit. The caller holds no queue's lock.
func (b *Budget) cutDown() {
	b.cutting.Lock()
	defer b.cutting.Unlock()
	if b.used.Load() > b.limit { // another goroutine may have cut meanwhile
		b.settle()
	}
}

// short reports whether more than half of the limit is charged. Waiting connections then keep bytes
// in buffers that are no larger than the bytes.
func (b *Budget) short() bool { return b != nil && b.used.Load() > b.limit/2 }

// charge charges n bytes, which may be negative, and reports whether the limit is exceeded. The
// caller must then call cutDown after it has released its locks.
func (b *Budget) charge(n int64) (over bool) {
	used := b.used.Add(n)
	if n > 0 && used > min(surgeFrom, b.limit) && b.surging.CompareAndSwap(false, true) {
		b.surge <- struct{}{} // has room: who calls Calm has received the last one
	}
	return used > b.limit
}

// settle is Settle for a caller that holds cutting.
func (b *Budget) settle() (held int64) {
	b.list.Lock()
	b.all = b.all[:0]
	for q := range b.queues {
		b.all = append(b.all, holding{queue: q})
	}
	b.portion.Store(b.portionFor(len(b.all)))
	b.list.Unlock()
	defer func() { clear(b.all) }() // keeps no queue from the garbage collector
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
			freed, packets := h.queue.Shed(max(level-h.other, 0))
			held -= freed
			b.dropped.Add(packets)
		}
	}
	if over := held + sockets - b.limit; over > 0 {
		held -= b.end(over, level)
	}
	return held
}

// end ends connections whose buffers alone hold more than level, the largest first, until that
// releases most bytes. It returns how many bytes the connections will release as they end. It is
// called when there are no packets left to drop. The caller holds cutting.
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

// level returns the maximum for each queue at which all together hold at most total bytes (max-min
// fairness).
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

// portionFor returns how many bytes each of n queues charges ahead: all together at most the slack,
// unless that is less than minPortion for each.
func (b *Budget) portionFor(n int) int64 {
	return min(max(b.limit/slack/int64(n+1), minPortion), maxPortion)
}

// join adds q to the queues with a charge.
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
