package audit

import (
	"encoding/json"
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

// Drain gives all entries of Keep to record, the oldest first, and forgets them. What is none of
// them is forgotten as well.
func Drain(b Bucket, record func(Entry)) error {
	var keys []string
	var all []Entry
	if err := b.Each(func(key string, value []byte) error {
		keys = append(keys, key)
		var e Entry
		if json.Unmarshal(value, &e) == nil {
			if e.Tidy(); e.Check() == nil {
				all = append(all, e)
			}
		}
		return nil
	}); err != nil || len(keys) == 0 {
		return err
	}
	// Forgotten first: after a crash between the two they are lost, and not there twice.
	if err := b.Write(nil, keys...); err != nil {
		return err
	}
	for _, e := range all {
		record(e)
	}
	return nil
}
