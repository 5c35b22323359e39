package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked says that another server has the file open.
var ErrLocked = errors.New("another server uses this state directory")

// lockTimeout is how long openStore waits for a server that is just stopping.
const lockTimeout = 3 * time.Second

// record is what the file keeps of a lease.
type record struct {
	Address netip.Addr `json:"address"` // of the client's own end
	Idle    time.Time  `json:"idle"`    // since when nobody used it, as far as the file knows
}

// store is the file: one bucket, holder to record as JSON.
type store struct {
	db    *bbolt.DB
	stale []string // holders to delete with the next write: a delete alone is not worth a sync
}

func bucket() []byte { return []byte("leases") }

func openStore(path string) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open %s: %w", path, ErrLocked)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("open %s: the file is damaged: %w", path, err)
	case err != nil:
		return nil, err // an os.PathError says it all
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket())
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &store{db: db}, nil
}

func (s *store) close() error { return s.db.Close() }

// each calls f for all records. What cannot be read is not a lease.
func (s *store) each(f func(holder string, r record)) error {
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket()).ForEach(func(k, v []byte) error {
			var r record
			if json.Unmarshal(v, &r) == nil {
				f(string(k), r)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("read leases: %w", err)
	}
	return nil
}

// put writes records by holder, in one transaction.
func (s *store) put(records map[string]record) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket())
		for _, holder := range s.stale {
			if err := b.Delete([]byte(holder)); err != nil {
				return err
			}
		}
		for holder, r := range records {
			v, err := json.Marshal(r)
			if err != nil {
				return err
			}
			if err := b.Put([]byte(holder), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write leases: %w", err)
	}
	s.stale = nil
	return nil
}

// drop deletes holder's record with the next put.
func (s *store) drop(holder string) { s.stale = append(s.stale, holder) }
