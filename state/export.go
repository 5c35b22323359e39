package state

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"
)

// Content is what a File has: values by bucket and key.
type Content map[string]map[string][]byte

// Export returns all that f has at one moment, also while others write. The error is ErrDamaged,
// wrapped, if a value is not what was written.
func (f *File) Export() (Content, error) {
	all := Content{}
	err := f.do(f.db.View, func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			values := map[string][]byte{}
			all[string(name)] = values
			return bucket.ForEach(func(k, v []byte) error {
				n := len(v) - sumLen
				if n < 0 || sum(k, v[:n]) != [sumLen]byte(v[n:]) {
					return fmt.Errorf("%w: %s %q", ErrDamaged, name, k)
				}
				values[string(k)] = bytes.Clone(v[:n])
				return nil
			})
		})
	})
	return all, err
}

// Import writes content into f, which is new.
func (f *File) Import(content Content) error {
	for name, values := range content {
		if err := f.Bucket(name).Write(values); err != nil {
			return err
		}
	}
	return nil
}
