package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxKept is how many entries Keep keeps: a command that runs again and again while no hub does
// must not fill the disk.
const maxKept = 1000

// Bucket is where entries wait for a hub to write them: a state.Bucket.
type Bucket interface {
	Each(f func(key string, value []byte) error) error
	Write(put map[string][]byte, remove ...string) error
}

// Keep keeps an entry of a command that ran without a hub, for Drain. Of more than 1,000 the oldest
// are forgotten.
func Keep(b Bucket, e Entry) error {
	var keys []string // sorted, as those of a bucket are
	if err := b.Each(func(key string, _ []byte) error {
		keys = append(keys, key)
		return nil
	}); err != nil {
		return err
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Tidy()
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	remove := keys[:max(0, len(keys)+1-maxKept)]
	return b.Write(map[string][]byte{fmt.Sprintf("%020d", e.Time.UnixNano()): data}, remove...)
}

// Drain passes all entries of Keep on, the oldest first, and forgets those for which Send returned.
// What is none of them is forgotten as well. After a crash between the two an entry is passed on
// again: the same in every byte.
func (r *Recorder) Drain(ctx context.Context, b Bucket) (err error) {
	var keys, done []string
	var all []Entry
	if err := b.Each(func(key string, value []byte) error {
		var e Entry
		if json.Unmarshal(value, &e) == nil {
			if e.Tidy(); e.Check() == nil {
				keys, all = append(keys, key), append(all, e)
				return nil
			}
		}
		done = append(done, key)
		return nil
	}); err != nil {
		return err
	}
	for len(all) > 0 && err == nil {
		n := fitting(all, 0, MaxBatch)
		if err = r.send(ctx, all[:n]); err == nil {
			r.mu.Lock()
			for _, e := range all[:n] {
				r.remember(e)
			}
			r.mu.Unlock()
			done, keys, all = append(done, keys[:n]...), keys[n:], all[n:]
		}
	}
	if len(done) == 0 {
		return err
	}
	return errors.Join(err, b.Write(nil, done...))
}
