package lease

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Store is where a Pool remembers leases, such as a state.Bucket. What a Write has returned without
// an error is there after a power cut. Its methods may be called concurrently.
type Store interface {
	Each(f func(key string, value []byte) error) error
	Write(put map[string][]byte, remove ...string) error
}

// record is what the file keeps of a lease, or of a pair that somebody had and nobody has now.
type record struct {
	Address netip.Addr `json:"address"`         // of the client's own end
	Token   string     `json:"token,omitempty"` // the id of the token that it was made with
	Idle    time.Time  `json:"idle"`            // since when nobody used it, if the file was closed
}

// closedKey is in the file if, and only if, Close was the last to write it: then the times in it
// are right. After a crash they are not, for who comes back to its lease writes nothing.
const closedKey = " closed"

// store is the file's part with the leases: holder to record as JSON. The Pool's lock guards it.
type store struct {
	bucket Store
	dirty  map[string]bool // keys whose record is another than in the file
	last   <-chan struct{} // closed when the commit that began last has ended
	next   *commit         // one that has not begun to write; nil if none
}

// A commit is one write, of all that was dirty when it began.
type commit struct {
	done chan struct{}
	err  error // set when done is closed
}

// read calls f for all leases, and reports whether the file was closed. What cannot be read is not
// a lease.
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

// commit writes what is dirty and returns when it is in the file. The caller does not hold the
// lock: all who come while one write is under way share the next one, so that a slow disk delays
// each of them by two writes at most. Two writes never overlap, so the file is never older than the
// last of them.
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

// changes returns what to write, and makes nothing dirty. The caller holds the lock.
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

// changed says that the records of these keys are to be written, or deleted, by the next commit.
// The caller holds the lock.
func (p *Pool) changed(keys ...string) {
	if p.store.dirty == nil {
		p.store.dirty = map[string]bool{}
	}
	for _, key := range keys {
		p.store.dirty[key] = true
	}
}

// record returns what the file keeps of h.
func (p *Pool) record(h *holding) record {
	r := record{Address: p.pair(h.number).Local, Token: h.token, Idle: h.idle}
	if h.users > 0 || h.idle.IsZero() {
		r.Idle = p.now()
	}
	return r
}
