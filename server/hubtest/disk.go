package hubtest

import (
	"sync"
	"sync/atomic"

	"tunnel/state"
)

// Disk is a disk on which writes stand still while it is locked.
type Disk struct {
	sync.RWMutex
	Waiting atomic.Int64 // writes that have not ended
}

// bucket is a bucket on a Disk.
type bucket struct {
	state.Bucket
	disk *Disk
}

func (b bucket) Write(put map[string][]byte, remove ...string) error {
	b.disk.Waiting.Add(1)
	defer b.disk.Waiting.Add(-1)
	b.disk.RLock()
	defer b.disk.RUnlock()
	return b.Bucket.Write(put, remove...)
}
