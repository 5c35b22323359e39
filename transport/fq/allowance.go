package fq

import "sync/atomic"

const (
	// sessionAllowance is the allowance, in bytes, of a session without a Budget.
	sessionAllowance = 64 << 20
	// allowanceShare is the part of a Budget, as a divisor, that its connections' buffers may take.
	allowanceShare = 4
	// leastGrant is the least, in bytes, by which a buffer grows.
	leastGrant = 1 << 20
)

// Allowance bounds the bytes by which the buffers of several sockets together are larger than the
// kernel would have them. Its methods are safe for concurrent use. The nil *Allowance allows
// nothing.
type Allowance struct {
	limit  int64
	used   atomic.Int64
	budget *Budget // is charged for it; nil is none
}

// NewAllowance returns an allowance of limit bytes.
func NewAllowance(limit int64) *Allowance { return &Allowance{limit: limit} }

// Used returns how many bytes are taken.
func (a *Allowance) Used() int64 { return a.used.Load() }

// Take returns how many of n bytes are allowed: at most half of what is left, so that no connection
// takes all of it, and 0 if that is less than leastGrant. The caller gives them back later. It
// holds no lock of a queue.
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

// Give gives back n bytes that Take has allowed.
func (a *Allowance) Give(n int) {
	if n == 0 {
		return
	}
	a.used.Add(-int64(n))
	if a.budget != nil {
		a.budget.charge(-int64(n))
	}
}
