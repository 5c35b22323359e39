package state

import (
	"sync"

	"go.etcd.io/bbolt"
)

// commits puts concurrent writes into one transaction, so that they share its two syncs of the
// disk. The first write to get turn commits all waiting writes; a single write does not wait.
// bbolt's own DB.Batch uses a timer, which delays a single write by up to 10 ms.
type commits struct {
	mu      sync.Mutex
	waiting []*pending

	turn sync.Mutex // held during a transaction
}

// A pending is one Bucket.Write that is not committed yet.
type pending struct {
	apply func(*bbolt.Tx) error
	done  bool  // guarded by commits.turn, as err is
	err   error // why it was not committed
}

// commit returns when apply's changes are durable, or returns an error if none was made. Writes
// take effect in the order of the calls.
func (f *File) commit(apply func(*bbolt.Tx) error) error {
	w := &pending{apply: apply}
	f.commits.mu.Lock()
	f.commits.waiting = append(f.commits.waiting, w)
	f.commits.mu.Unlock()

	f.commits.turn.Lock()
	defer f.commits.turn.Unlock()
	if w.done { // by another writer's transaction
		return w.err
	}
	f.commits.mu.Lock()
	all := f.commits.waiting
	f.commits.waiting = nil
	f.commits.mu.Unlock()
	f.together(all)
	return w.err
}

// together applies all writes in one transaction. A write that cannot be applied fails, and the
// transaction is repeated without it. If the commit itself fails, all writes fail.
func (f *File) together(all []*pending) {
	for left := all; len(left) > 0; {
		bad := -1
		err := f.do(f.db.Update, func(tx *bbolt.Tx) error {
			for i, w := range left {
				if err := w.apply(tx); err != nil {
					bad = i
					return err
				}
			}
			return nil
		})
		if bad < 0 {
			for _, w := range left {
				w.err = err
			}
			break
		}
		left[bad].err = err
		left = append(left[:bad:bad], left[bad+1:]...)
	}
	for _, w := range all {
		w.done = true
	}
}
