package state

import (
	"sync"

	"go.etcd.io/bbolt"
)

// commits puts concurrent writes into one transaction, so that they share its two syncs of the
// disk. The first write to get turn commits for all who wait; a write that is alone waits for
// nobody. bbolt's own DB.Batch would do with a timer, which delays a lone write by up to its 10 ms.
type commits struct {
	mu      sync.Mutex
	waiting []*pending

	turn sync.Mutex // held during a transaction
}

// A pending is what one Bucket.Write wants done.
type pending struct {
	apply func(*bbolt.Tx) error
	done  bool  // guarded by commits.turn, as err is
	err   error // why nothing of it is in the file
}

// commit returns when apply's changes are durable, or not there at all. Writes take effect in the
// order in which they were given.
func (f *File) commit(apply func(*bbolt.Tx) error) error {
	w := &pending{apply: apply}
	f.commits.mu.Lock()
	f.commits.waiting = append(f.commits.waiting, w)
	f.commits.mu.Unlock()

	f.commits.turn.Lock()
	defer f.commits.turn.Unlock()
	if w.done { // by a writer that waited less long
		return w.err
	}
	f.commits.mu.Lock()
	all := f.commits.waiting
	f.commits.waiting = nil
	f.commits.mu.Unlock()
	f.together(all)
	return w.err
}

// together runs the transaction of all. One that cannot be applied is left out of another attempt:
// it fails, and the others do not. When the commit itself fails, it fails for all.
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
