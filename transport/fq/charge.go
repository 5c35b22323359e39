package fq

// charge charges the budget for the packets of q and a portion ahead, and reports whether the
// budget is exceeded. The caller holds mu.
func (q *Queue) charge() (over bool) {
	if q.charged+q.pinned == 0 {
		q.budget.join(q)
	}
	n := max(int(q.budget.portion.Load()), q.buffered-q.charged)
	q.charged += n
	return q.budget.charge(int64(n))
}

// refund returns what q has charged for packets beyond those that it holds. The caller holds mu.
func (q *Queue) refund() {
	if q.budget == nil || q.charged == q.buffered {
		return
	}
	q.budget.charge(int64(q.buffered - q.charged))
	q.charged = q.buffered
	if q.charged+q.pinned == 0 {
		q.budget.leave(q)
	}
}

// Hold charges the budget for n more bytes of the connection's buffers, which cannot be dropped, or
// refunds -n. The connection calls it when it has to wait while its buffers hold bytes. The caller
// must not hold the lock of a queue.
func (q *Queue) Hold(n int) {
	if q == nil || q.budget == nil || n == 0 {
		return
	}
	q.mu.Lock()
	before := q.charged + q.pinned
	q.pinned += n
	over := q.budget.charge(int64(n))
	switch {
	case before == 0:
		q.budget.join(q)
	case q.charged+q.pinned == 0:
		q.budget.leave(q)
	}
	q.mu.Unlock()
	if over && n > 0 {
		q.budget.cutDown()
	}
}

// settle returns the charge ahead to the budget and frees the memory of past flows. It returns how
// many bytes q holds in packets, and in other buffers.
func (q *Queue) settle() (packets, other int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refund()
	if q.spare = nil; len(q.flows) == 0 {
		q.flows = nil
	}
	return int64(q.buffered), int64(q.pinned)
}

// Held returns how many bytes q holds: buffers of waiting packets, and those of Hold.
func (q *Queue) Held() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.buffered) + int64(q.pinned)
}

// Shed drops packets until q holds at most n bytes of them. Each round drops at the heads of the
// flows with more than half of the bytes of the largest flow. It returns the bytes that were
// charged for the dropped packets, and their number.
func (q *Queue) Shed(n int64) (freed int64, packets uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for int64(q.buffered) > n {
		half := q.largest() / 2
		for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
			for f := list.head; f != nil; f = f.next {
				for f.bytes > half && int64(q.buffered) > n {
					p := q.take(f)
					freed += int64(charge(p))
					packets++
					q.meter.Dropped(p)
					p.Free()
				}
			}
		}
	}
	q.drops.Memory += packets
	q.refund()
	return freed, packets
}

// largest returns the bytes of the largest flow.
func (q *Queue) largest() (most int) {
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
		for f := list.head; f != nil; f = f.next {
			most = max(most, f.bytes)
		}
	}
	return most
}
