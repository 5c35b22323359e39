package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Store is where a Pool stores leases, such as a state.Bucket. A Write that returned nil survives a
// power cut. Its methods may be called concurrently.
type Store interface {
	Each(f func(key string, value []byte) error) error
	Write(put map[string][]byte, remove ...string) error
}

// record is a lease in the file, or a pair that was used and has no holder now.
type record struct {
	Address netip.Addr `json:"address"`         // of the client's own end
	Token   string     `json:"token,omitempty"` // the id of its token
	Idle    time.Time  `json:"idle"`            // when its last user left, if the file was closed
}

// closedKey is in the file if, and only if, the last write was that of Close: then the times are
// right. After a crash they are not, because a client that returns to its lease writes nothing.
const closedKey = " closed"

// store maps holders to records, as JSON, in the file. The Pool's lock guards it.
type store struct {
	bucket Store
	dirty  map[string]bool // keys whose records differ from the file
	last   <-chan struct{} // closed when the last started commit has ended
	next   *commit         // a commit that has not started; nil if there is none
}

// A commit is one write, of all keys that were dirty when it started.
type commit struct {
	done chan struct{}
	err  error // set when done is closed
}

// read calls f for all leases, and reports whether the file was closed. Records that cannot be read
// are ignored.
func (s *store) read(f func(holder string, r record)) (closed bool, err error) {
	err = s.bucket.Each(func(holder string, v []byte) error {
		if holder == closedKey {
			closed = true
			return nil
		}
		var r record
		if json.Unmarshal(v, &r) == nil {
			f(holder, r)
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("read leases: %w", err)
	}
	return closed, nil
}

// commit writes the dirty keys and returns when they are in the file. The caller does not hold the
// lock. All calls during a write share the next one, so a slow disk delays each of them by at most
// two writes. Writes never overlap, so the file always has the state of the last one.
func (p *Pool) commit() error {
	s := &p.store
	p.mu.Lock()
	if c := s.next; c != nil {
		p.mu.Unlock()
		<-c.done
		return c.err
	}
	c := &commit{done: make(chan struct{})}
	before := s.last
	s.last, s.next = c.done, c
	p.mu.Unlock()

	if before != nil {
		<-before
	}
	p.mu.Lock()
	s.next = nil
	put, remove, holdings := p.changes()
	p.mu.Unlock()
	err := s.bucket.Write(put, remove...)
	p.mu.Lock()
	for key, h := range holdings {
		if err == nil && p.holders[key] == h {
			h.stored = true
		}
	}
	if err != nil {
		err = fmt.Errorf("write leases: %w", err)
		for key := range put {
			p.changed(key)
		}
		p.changed(remove...)
	}
	p.mu.Unlock()
	c.err = err
	close(c.done)
	return err
}

// changes returns what to write, and clears the dirty keys. The caller holds the lock.
func (p *Pool) changes() (put map[string][]byte, remove []string, holdings map[string]*holding) {
	put, holdings = make(map[string][]byte, len(p.store.dirty)), map[string]*holding{}
	for key := range p.store.dirty {
		h := p.holders[key]
		switch {
		case h != nil:
			put[key], _ = json.Marshal(p.record(h)) // never fails: text and times
			holdings[key] = h
		case key == closedKey && p.closed:
			put[key] = []byte("{}")
		default:
			remove = append(remove, key)
		}
	}
	p.store.dirty = nil
	return put, remove, holdings
}

// changed marks the records of these keys to be written, or deleted, by the next commit. The caller
// holds the lock.
func (p *Pool) changed(keys ...string) {
	if p.store.dirty == nil {
		p.store.dirty = map[string]bool{}
	}
	for _, key := range keys {
		p.store.dirty[key] = true
	}
}

// record returns the record of h.
func (p *Pool) record(h *holding) record {
	r := record{Address: p.pair(h.number).Local, Token: h.token, Idle: h.idle}
	if h.users > 0 || h.idle.IsZero() {
		r.Idle = p.now()
	}
	return r
}
