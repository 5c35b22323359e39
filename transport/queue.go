package transport

import (
	"context"
	"sync"
	"time"

	"tunnel/packet"
)

// Queue holds the packets on their way to one peer (the seed's data channel). Push never blocks: whoever reads the TUN
// device must not wait for a slow peer. Any number of goroutines may push; one pops.
type Queue struct {
	limit int           // bytes
	ready chan struct{} // holds one token when packets may be waiting

	mu      sync.Mutex
	waiting packet.Batch
	dropped uint64
}

// NewQueue returns an empty queue that holds up to limit bytes, limit ≤ packet.MaxBatch.
func NewQueue(limit int) *Queue {
	return &Queue{limit: limit, ready: make(chan struct{}, 1)}
}

// Push copies record to the end of the queue. It returns false, and counts, when there is no room.
func (q *Queue) Push(record []byte) bool {
	q.mu.Lock()
	fits := q.waiting.Size()+len(record) <= q.limit
	if fits {
		q.waiting.Append(record)
	} else {
		q.dropped++
	}
	q.mu.Unlock()
	if fits {
		select {
		case q.ready <- struct{}{}:
		default: // a token is there already
		}
	}
	return fits
}

// Pop waits for packets and moves all that are there into b, which must be empty. After wait without any it returns
// with b empty.
func (q *Queue) Pop(ctx context.Context, b *packet.Batch, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		q.mu.Lock()
		if q.waiting.Len() > 0 {
			q.waiting, *b = *b, q.waiting
			q.mu.Unlock()
			return nil
		}
		q.mu.Unlock()
		select {
		case <-q.ready:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Dropped returns how many packets found no room.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}
