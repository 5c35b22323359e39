package fq

import "sync/atomic"

const (
	// sessionAllowance is the allowance, in bytes, of a session without a Budget.
	sessionAllowance = 64 << 20
	// allowanceShare divides the limit of a Budget: the quotient is the allowance of its
	// connections' buffers.
	allowanceShare = 4
	// leastGrant is the minimum, in bytes, by which a buffer grows.
	leastGrant = 1 << 20
)

// Allowance bounds the bytes by which the buffers of several sockets together exceed the sizes that
// the kernel gives them. Its methods are safe for concurrent use. The nil *Allowance allows
// nothing.
type Allowance struct {
	limit  int64
	used   atomic.Int64
	budget *Budget // charged for the same bytes; nil for none
}

// Used returns how many bytes are taken.
func (a *Allowance) Used() int64 { return a.used.Load() }

// Take takes up to n bytes and returns how many: at most half of the rest, so that no connection
// takes all of it, and 0 if that is less than leastGrant. The caller returns them with Give, and
// must not hold the lock of a queue.
func (a *Allowance) Take(n int) int {
	for a != nil {
		used := a.used.Load()
		granted := min(int64(n), (a.limit-used)/2)
		if granted < leastGrant {
			break
		}
		if a.used.CompareAndSwap(used, used+granted) {
			if a.budget != nil && a.budget.charge(granted) {
				a.budget.cutDown()
			}
			return int(granted)
		}
	}
	return 0
}

// Give returns n bytes of Take.
func (a *Allowance) Give(n int) {
	if n == 0 {
		return
	}
	a.used.Add(-int64(n))
	if a.budget != nil {
		a.budget.charge(-int64(n))
	}
}
