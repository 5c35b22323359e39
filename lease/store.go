package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"tunnel/state"
)

// record is what the file keeps of a lease.
type record struct {
	Address netip.Addr `json:"address"`         // of the client's own end
	Token   string     `json:"token,omitempty"` // the id of the token that it was made with
	Idle    time.Time  `json:"idle"`            // since when nobody used it, as far as the file knows
}

// store is the file's part with the leases: holder to record as JSON.
type store struct {
	bucket state.Bucket
	stale  []string // holders to delete with the next write: a delete alone is not worth a sync
}

// each calls f for all records. What cannot be read is not a lease.
func (s *store) each(f func(holder string, r record)) error {
	err := s.bucket.Each(func(holder string, v []byte) error {
		var r record
		if json.Unmarshal(v, &r) == nil {
			f(holder, r)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read leases: %w", err)
	}
	return nil
}

// put writes records by holder, in one transaction.
func (s *store) put(records map[string]record) error {
	values := make(map[string][]byte, len(records))
	for holder, r := range records {
		v, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("write leases: %w", err)
		}
		values[holder] = v
	}
	if err := s.bucket.Write(values, s.stale...); err != nil {
		return fmt.Errorf("write leases: %w", err)
	}
	s.stale = nil
	return nil
}

// drop deletes holder's record with the next put.
func (s *store) drop(holder string) { s.stale = append(s.stale, holder) }
