package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"go.etcd.io/bbolt"
)

// Bucket is a named part of a File: keys, each with a value.
type Bucket struct {
	file *File
	name string
}

// Bucket returns the part of f with that name. It is made by the first Write.
func (f *File) Bucket(name string) Bucket { return Bucket{f, name} }

// Exists reports whether anything was ever written to the bucket.
func (b Bucket) Exists() (exists bool, err error) {
	err = b.file.do(b.file.db.View, func(tx *bbolt.Tx) error {
		exists = tx.Bucket([]byte(b.name)) != nil
		return nil
	})
	return exists, err
}

// Each calls f with every key and its value, which f may keep, until f returns an error. The error
// is ErrDamaged, wrapped, if a value is not what was written.
func (b Bucket) Each(f func(key string, value []byte) error) error {
	return b.file.do(b.file.db.View, func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(b.name))
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(k, v []byte) error {
			n := len(v) - sumLen
			if n < 0 || sum(k, v[:n]) != [sumLen]byte(v[n:]) {
				return fmt.Errorf("%w: %s %q", ErrDamaged, b.name, k)
			}
			return f(string(k), bytes.Clone(v[:n]))
		})
	})
}

// Write stores values by key and deletes keys: all of it or, if it returns an error, nothing. It
// returns when the changes are on disk; concurrent writes share a transaction and its syncs. The
// error is ErrFull or ErrDamaged, wrapped, or an I/O error.
func (b Bucket) Write(put map[string][]byte, remove ...string) error {
	return b.file.commit(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte(b.name))
		if err != nil {
			return err
		}
		for _, key := range remove {
			if err := bucket.Delete([]byte(key)); err != nil {
				return err
			}
		}
		for key, value := range put {
			sum := sum([]byte(key), value)
			if err := bucket.Put([]byte(key), slices.Concat(value, sum[:])); err != nil {
				return err
			}
		}
		return nil
	})
}

// sumLen is the length in bytes of the CRC-32C of key and value that follows each value.
const sumLen = 4

func sum(key, value []byte) (sum [sumLen]byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(sum[:], crc32.Update(crc32.Checksum(key, table), table, value))
	return sum
}

// do runs a transaction.
func (f *File) do(run func(func(*bbolt.Tx) error) error, transaction func(*bbolt.Tx) error) error {
	if f.broken.Load() {
		return fmt.Errorf("%s: %w", f.path, ErrDamaged)
	}
	returned := false
	err := guard(func() error {
		err := run(transaction)
		returned = true
		return err
	})
	if !returned {
		f.broken.Store(true)
	}
	if err != nil {
		return explain(f.path, err)
	}
	return nil
}
