package fq

// charge charges q for what it holds, and for some more, and reports whether the budget is exceeded
// by that. The caller holds mu.
func (q *Queue) charge() (over bool) {
	if q.charged+q.pinned == 0 {
		q.budget.join(q)
	}
	n := max(int(q.budget.portion.Load()), q.buffered-q.charged)
	q.charged += n
	return q.budget.charge(int64(n))
}

// refund gives back what q was charged for packets that it does not hold. The caller holds mu.
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

// Hold charges q for n more bytes of its connection's buffers, which cannot be dropped, or for -n
// less. It is called when somebody has to wait while something is in them. The caller may hold no
// lock of a queue.
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

// settle gives back what q was charged ahead, and what it keeps of flows that are over, and returns
// what it holds: bytes of packets, and of other buffers.
func (q *Queue) settle() (packets, other int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refund()
	if q.spare = nil; len(q.flows) == 0 {
		q.flows = nil
	}
	return int64(q.buffered), int64(q.pinned)
}

// held returns how many bytes q holds.
func (q *Queue) held() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int64(q.buffered) + int64(q.pinned)
}

// shed drops packets until q holds no more than n bytes of them: at the heads of the flows with the
// most, until none has more than half of what the largest had, and so on. It returns the bytes that
// they were charged, and how many packets they were.
func (q *Queue) shed(n int64) (freed int64, packets uint64) {
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
					p.Free()
				}
			}
		}
	}
	q.drops.Memory += packets
	q.refund()
	return freed, packets
}

// largest returns the bytes of the flow that has the most.
func (q *Queue) largest() (most int) {
	for _, list := range []*turns{&q.newFlows, &q.oldFlows} {
		for f := list.head; f != nil; f = f.next {
			most = max(most, f.bytes)
		}
	}
	return most
}
