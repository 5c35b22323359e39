package wan

// fifo is a queue of frames that does not allocate once it has reached its size.
type fifo struct {
	ring []frame // its length is a power of two, or zero
	head int
	n    int
}

func (q *fifo) len() int { return q.n }

// at returns the frame at position i, counted from the head.
func (q *fifo) at(i int) *frame { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

// last returns the frame at the tail, or nil if there is none.
func (q *fifo) last() *frame {
	if q.n == 0 {
		return nil
	}
	return q.at(q.n - 1)
}

func (q *fifo) push(f frame) {
	if q.n == len(q.ring) {
		grown := make([]frame, max(64, 2*len(q.ring)))
		for i := range q.n {
			grown[i] = *q.at(i)
		}
		q.ring, q.head = grown, 0
	}
	q.n++
	*q.at(q.n - 1) = f
}

// pop removes the frame at the head; there must be one.
func (q *fifo) pop() frame {
	f := *q.at(0)
	*q.at(0) = frame{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return f
}
