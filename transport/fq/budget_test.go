package fq

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
)

// room is the bytes of buffers that a small packet takes.
const room = packet.SmallRoom

// fill pushes n small packets of a flow into q.
func fill(q *Queue, flow uint16, n int) {
	for i := range n {
		q.Push(datagram(flow, 1000, 0, i))
	}
}

// The queues that hold most pay for all; a queue that holds no more than a fair share loses
// nothing, whenever that came.
func TestBudgetFattestFirst(t *testing.T) {
	const limit = 4 << 20
	b := NewBudget(limit)
	small := b.NewQueue(8 << 20)
	fill(small, 1, 100)
	var greedy []*Queue
	for range 10 {
		q := b.NewQueue(8 << 20)
		greedy = append(greedy, q)
		fill(q, 1, 2000) // more than all may hold together
	}
	fill(small, 1, 50)
	if lost := small.Drops(); lost != (Drops{}) || small.Len() != 150 {
		t.Errorf("the queue within its share has lost %+v", lost)
	}
	held, lost := small.Held(), uint64(0)
	for i, q := range greedy {
		if n := q.Held(); n < b.Share()/11-room {
			t.Errorf("greedy queue %d holds %d bytes, less than its share of %d", i, n,
				b.Share()/11)
		}
		held += q.Held()
		lost += q.Drops().Memory
	}
	if held > limit+maxPortion {
		t.Errorf("%d bytes are held, of %d", held, limit)
	}
	if n := b.Dropped(); n != lost || n != 10*2000-uint64(held-small.Held())/room {
		t.Errorf("%d dropped in all, %d by queues, %d bytes left", n, lost, held)
	}
	for _, q := range append(greedy, small) {
		q.Close()
	}
	if b.used.Load() != 0 || len(b.queues) != 0 {
		t.Errorf("%d bytes are charged, for %d queues, when all are closed", b.used.Load(),
			len(b.queues))
	}
}

// Within a queue the flow that has most loses first, at its head.
func TestBudgetFattestFlow(t *testing.T) {
	b := NewBudget(64 * room)
	q := b.NewQueue(8 << 20)
	fill(q, 1, 3)
	fill(q, 2, 1000)
	out := map[uint16][]int{}
	var batch packet.Batch
	q.Pop(&batch, 1<<20)
	for i := range batch.Len() {
		flow, id := portOf(batch.IP(i)), seqOf(batch.IP(i))
		out[flow] = append(out[flow], id)
	}
	if len(out[1]) != 3 {
		t.Errorf("of the small flow %v came out", out[1])
	}
	if big := out[2]; len(big) < 32 || big[len(big)-1] != 999 || !slices.IsSorted(big) {
		t.Errorf("of the large flow %v came out", big)
	}
}

// The bytes in a connection's buffers count against the limit. They cannot be dropped, so the
// queues drop packets instead.
func TestBudgetHolds(t *testing.T) {
	const limit = 1 << 20
	b := NewBudget(limit)
	deaf, other := b.NewQueue(8<<20), b.NewQueue(8<<20)
	deaf.Hold(limit / 2)
	fill(deaf, 1, 100)
	fill(other, 1, 1000)
	if n := deaf.Len(); n != 0 && deaf.Held()-int64(deaf.pinned) > b.Share()/2 {
		t.Errorf("%d packets are left beside buffers that are the whole share", n)
	}
	if n := other.Held(); n < b.Share()/2-room || n+deaf.Held() > limit+maxPortion {
		t.Errorf("the other holds %d", n)
	}
	deaf.Hold(-limit / 2)
	deaf.Close()
	other.Close()
	if b.used.Load() != 0 || len(b.queues) != 0 {
		t.Errorf("%d bytes are charged, for %d queues, when all are closed", b.used.Load(),
			len(b.queues))
	}
}

// failing is a Sink that only Fails.
type failing func(error)

func (failing) Due() bool                  { return false }
func (failing) Flush()                     {}
func (failing) FlushAside()                {}
func (failing) Drained(time.Duration) bool { return false }
func (f failing) Fail(err error)           { f(err) }

// When buffers that cannot be dropped are beyond the limit, the connections with the most are
// ended, and no other.
func TestBudgetEnds(t *testing.T) {
	b := NewBudget(1 << 20)
	ended := map[int]error{}
	var queues []*Queue
	for i := range 4 {
		q := b.NewQueue(8 << 20)
		q.Attach(failing(func(err error) { ended[i] = err }))
		queues = append(queues, q)
	}
	queues[0].Hold(10 << 10)
	queues[1].Hold(400 << 10)
	queues[2].Hold(500 << 10)
	if len(ended) != 0 {
		t.Fatalf("ended: %v", ended)
	}
	queues[3].Hold(300 << 10)
	if len(ended) != 1 || ended[2] == nil {
		t.Errorf("ended: %v", ended)
	}
}

// The charge matches the bytes held, under concurrent use.
func TestBudgetConcurrent(t *testing.T) {
	b := NewBudget(2 << 20)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // a seed that can be repeated
			for range 30 {
				l := b.NewSubflows(1<<20, "")
				q := l.Join()
				second := l.Join()
				for range r.IntN(600) {
					switch r.IntN(8) {
					case 0:
						var batch packet.Batch
						q.Pop(&batch, 10000)
						batch.Reset()
					case 1:
						q.Hold(1000)
						b.Settle()
						q.Hold(-1000)
					default:
						l.Push(datagram(uint16(r.IntN(100)), 1000, 0, 1))
					}
				}
				l.Leave(second)
				l.Leave(q)
				for _, p := range l.TakeFresh(0) {
					p.Free()
				}
				l.Push(datagram(1, 1000, 0, 1))
				l.Close()
			}
		})
	}
	all.Wait()
	if b.used.Load() != 0 || len(b.queues) != 0 {
		t.Errorf("%d bytes are charged, for %d queues, when all are closed", b.used.Load(),
			len(b.queues))
	}
}

// Queues that stay within the budget charge it now and then only.
func TestBudgetIsLazy(t *testing.T) {
	b := NewBudget(64 << 20)
	q := b.NewQueue(8 << 20)
	fill(q, 1, 10)
	before := b.used.Load()
	for range 1000 {
		fill(q, 1, 1)
		var batch packet.Batch
		q.Pop(&batch, 1)
		batch.Reset()
		if b.used.Load() != before {
			t.Fatal("charged anew for a packet that came when another had left")
		}
	}
}

// Dropping a super-packet frees the bytes that it was charged, which may be more than its buffer:
// no connection ends if dropping packets suffices.
func TestBudgetShedsCharges(t *testing.T) {
	const limit = 1 << 20
	b := NewBudget(limit)
	deaf, greedy := b.NewQueue(8<<20), b.NewQueue(8<<20)
	deaf.Attach(failing(func(err error) { t.Errorf("ended: %v", err) }))
	for range 30 { // over 28 KiB each, in a buffer of 16 KiB
		greedy.Push(superTCP())
	}
	if n := greedy.Drops().Memory; n != 0 {
		t.Fatalf("%d dropped within the limit", n)
	}
	deaf.Hold(limit / 2) // more than its share, and with what greedy may keep below the limit
	if greedy.Drops().Memory == 0 {
		t.Error("nothing was dropped above the limit")
	}
	fill(greedy, 1, 400)
	if n, held := b.Settle(), deaf.Held()+greedy.Held(); n != held {
		t.Errorf("%d bytes are held; Settle says %d", held, n)
	}
	deaf.Hold(-limit / 2)
	deaf.Close()
	greedy.Close()
}

// A surge that began while its receiver was at work is not lost: the charge never fell below the
// limit between the two.
func TestBudgetSurges(t *testing.T) {
	b := NewBudget(64 << 20)
	q := b.NewQueue(64 << 20)
	signalled := func() bool {
		select {
		case <-b.Surge():
			return true
		default:
			return false
		}
	}
	for steps := 0; !signalled(); steps++ {
		if fill(q, 1, 100); steps > 1000 {
			t.Fatalf("no signal at %d bytes", q.Held())
		}
	}
	fill(q, 1, 1000)
	if signalled() {
		t.Error("a second signal while the receiver is at work")
	}
	b.Calm()
	if fill(q, 1, 100); !signalled() {
		t.Errorf("no signal at %d bytes afterwards", q.Held())
	}
}
