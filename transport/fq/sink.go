package fq

import "time"

// A Sink is where the packets of a Queue go: a connection that takes them by Queue.Pop. Its methods
// may be called by any goroutine, and none of them once for each packet.
type Sink interface {
	// Due reports whether packets wait and nobody is sending them.
	Due() bool
	// Flush sends what waits, on the caller's goroutine, for as long as the socket takes it at
	// once.
	Flush()
	// FlushAside is Flush on a goroutine of its own.
	FlushAside()
	// Drained reports whether what was popped longer ago than that has reached the peer for
	// certain.
	Drained(ago time.Duration) bool
	// Fail ends the connection. With ErrMemory it never waits: the caller holds locks.
	Fail(err error)
}

// Attach has the packets of q go to s, until detach is called. There is one Sink at a time.
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

// Bind makes t one of the turns of q's Budget, and one of its owner's.
func (q *Queue) Bind(t *Turn) {
	if q.budget != nil {
		t.all, t.owner = q.budget.readers, q.owner
	}
}

// Short reports whether memory is scarce: buffers that wait with something in them had better be no
// larger than that.
func (q *Queue) Short() bool { return q != nil && q.budget.short() }

// Allowance returns what bounds the buffers of the connection in the kernel; nil allows no growth.
func (q *Queue) Allowance() *Allowance { return q.allowance }
