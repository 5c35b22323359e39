package fq

import (
	"time"

	"tunnel/transport/fq/turn"
)

// A Sink is the connection that sends the packets of a Queue and takes them with Queue.Pop. Its
// methods are safe for concurrent use. None of them is called once for each packet.
type Sink interface {
	// Due reports whether packets wait and no goroutine is sending them.
	Due() bool
	// Flush sends the waiting packets on the caller's goroutine, until the socket would block.
	Flush()
	// FlushAside is Flush on a goroutine of its own.
	FlushAside()
	// Drained reports whether all packets that were popped longer than ago have certainly reached
	// the peer.
	Drained(ago time.Duration) bool
	// Fail ends the connection. With ErrMemory it never blocks: the caller holds locks.
	Fail(err error)
}

// Attach makes s the Sink of q until detach is called. There is one Sink at a time.
func (q *Queue) Attach(s Sink) (detach func()) {
	q.sink.Store(&s)
	return func() { q.sink.CompareAndSwap(&s, nil) }
}

// out returns the Sink, nil while there is none.
func (q *Queue) out() Sink {
	if s := q.sink.Load(); s != nil {
		return *s
	}
	return nil
}

// Bind makes t a turn of the readers of q's Budget, for the owner of q.
func (q *Queue) Bind(t *turn.Turn) {
	if q.budget != nil {
		q.budget.readers.Bind(t, q.owner)
	}
}

// Short reports whether memory is scarce: waiting connections should then keep bytes in buffers
// that are no larger than the bytes.
func (q *Queue) Short() bool { return q != nil && q.budget.short() }

// Allowance returns the bound of the connection's kernel buffers; nil allows no growth.
func (q *Queue) Allowance() *Allowance { return q.allowance }
