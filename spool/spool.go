// Package spool writes output without blocking the program when nobody reads it: a stopped terminal
// (Ctrl-S), a full pipe, a log driver that hangs. Lines wait in a bounded queue, and one goroutine
// writes them.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A queue holds maxBytes of text in maxItems pieces at most. The newest are kept.
const (
	maxBytes = 256 << 10
	maxItems = 4096
)

// How long one write may take before its reader counts as gone: at the end of the program, and
// while another process waits for room; and how long a text may wait before its Observer is told.
const (
	closePatience   = 300 * time.Millisecond
	relayPatience   = 3 * time.Second
	observePatience = 3 * time.Second
)

// Writer writes to another writer, in order, one Write for each Write. Until Detach is called a
// Write waits for its completion, as the output of a command must. All methods may be called
// concurrently.
type Writer struct {
	to       io.Writer
	detach   sync.Once
	detached chan struct{}
	done     chan struct{} // closed when the goroutine has ended
	room     chan struct{} // has an element after each item that was taken
	notice   atomic.Pointer[Notice]
	observer atomic.Pointer[Observer]
	hasty    atomic.Bool

	mu     sync.Mutex
	filled *sync.Cond // of mu: queue is not empty, or closed
	queue  []item     // guarded by mu, as all below
	size   int        // bytes in queue
	lost   uint64     // lines that were dropped since the last notice
	why    error      // the reason for the last of them
	now    item       // what is being written, without text if nothing is
	begun  time.Time  // when that write began
	closed bool
}

// item is the text of one Write.
type item struct {
	text    []byte
	written chan error  // buffered for one result; nil if no Write waits
	late    *time.Timer // tells the Observer that it waits; nil if there is none
}

// A Notice returns the line that replaces dropped lines and gives the reason.
type Notice func(lines uint64, why error) []byte

// An Observer gets the result of each text that was written after Detach; the error is nil if it
// was written. Of a text that waits for long it gets ErrLate before. It must not block.
type Observer func(text []byte, err error)

// ErrUnread is the reason for dropping lines that were not written in time.
var ErrUnread = errors.New("not read in time")

// ErrLate says that a text still waits for its reader.
var ErrLate = errors.New("not read yet")

// ErrClosed is returned by Write after Close.
var ErrClosed = errors.New("the output is closed")

// New returns a Writer to w, which only the Writer may write to. The caller closes it.
func New(w io.Writer) *Writer {
	s := &Writer{
		to: w, detached: make(chan struct{}), done: make(chan struct{}),
		room: make(chan struct{}, 1),
	}
	s.filled = sync.NewCond(&s.mu)
	s.SetNotice(func(lines uint64, why error) []byte {
		return fmt.Appendf(nil, "dropped %d lines: %v\n", lines, why)
	})
	go s.run()
	return s
}

// SetNotice replaces the notice of dropped lines.
func (s *Writer) SetNotice(notice Notice) { s.notice.Store(&notice) }

// Observe sets the Observer.
func (s *Writer) Observe(observer Observer) { s.observer.Store(&observer) }

// Detach makes each Write return at once from now on, also one that waits. When the queue is full
// the oldest lines are then dropped; a notice in their place counts them.
func (s *Writer) Detach() { s.detach.Do(func() { close(s.detached) }) }

// Hasten detaches, and makes Relays stop waiting, too.
func (s *Writer) Hasten() {
	s.hasty.Store(true)
	s.Detach()
}

// Write implements io.Writer. After Detach the only error is ErrClosed.
func (s *Writer) Write(b []byte) (int, error) {
	it := item{text: bytes.Clone(b)}
	select {
	case <-s.detached:
	default:
		it.written = make(chan error, 1)
	}
	if !s.push(it) {
		return 0, ErrClosed
	}
	if it.written != nil {
		select {
		case err := <-it.written:
			if err != nil {
				return 0, err
			}
		case <-s.detached:
		}
	}
	return len(b), nil
}

// push adds an item to the queue; it reports whether the queue is open.
func (s *Writer) push(it item) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	if observer := s.observer.Load(); it.written == nil && observer != nil {
		it.late = time.AfterFunc(observePatience, func() { (*observer)(it.text, ErrLate) })
	}
	s.queue = append(s.queue, it)
	s.size += len(it.text)
	var dropped []item
	for it.written == nil && len(s.queue) > 1 && (s.size > maxBytes || len(s.queue) > maxItems) {
		oldest := s.pop()
		s.lose(oldest, ErrUnread)
		dropped = append(dropped, oldest)
	}
	s.filled.Signal()
	s.mu.Unlock()
	for _, d := range dropped {
		s.observe(d, ErrUnread)
	}
	return true
}

// pop returns the oldest item of the queue, which is not empty. The caller holds mu.
func (s *Writer) pop() item {
	it := s.queue[0]
	s.queue[0] = item{}
	s.queue = s.queue[1:]
	s.size -= len(it.text)
	return it
}

// lose counts an item as dropped. The caller holds mu.
func (s *Writer) lose(it item, why error) {
	s.lost += lines(it.text)
	s.why = why
}

func (s *Writer) observe(it item, err error) {
	if it.late != nil {
		it.late.Stop()
	}
	if observer := s.observer.Load(); observer != nil {
		(*observer)(it.text, err)
	}
}

// run writes the queue until Close, and then the rest.
func (s *Writer) run() {
	defer close(s.done)
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.filled.Wait()
		}
		if len(s.queue) == 0 {
			s.mu.Unlock()
			return
		}
		it, lost, why := s.pop(), s.lost, s.why
		s.now, s.begun = it, time.Now()
		s.lost = 0
		s.mu.Unlock()
		select {
		case s.room <- struct{}{}:
		default:
		}
		text := it.text
		if lost > 0 {
			text = append((*s.notice.Load())(lost, why), text...)
		}
		_, err := s.to.Write(text)
		s.mu.Lock()
		gone := s.now.text == nil // Close has given up
		s.now = item{}
		detached := it.written == nil
		if detached && err != nil { // a full disk, or a reader that has gone
			s.lose(it, err)
			s.lost += lost
		}
		s.mu.Unlock()
		switch {
		case !detached:
			it.written <- err
		case !gone:
			s.observe(it, err)
		}
	}
}

// Close writes the queue, until the limit, or until one write has taken longer than a working
// reader needs. The rest is dropped; the goroutine remains until its present write returns.
func (s *Writer) Close(limit time.Time) {
	s.Hasten()
	s.mu.Lock()
	s.closed = true
	s.filled.Signal()
	s.mu.Unlock()
	tick := time.NewTicker(closePatience / 15)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		if left, over := s.giveUp(limit); over {
			for _, it := range left {
				s.observe(it, ErrUnread)
			}
			return
		}
	}
}

// giveUp reports whether it is time to give up, and if so empties the queue and returns what is
// lost.
func (s *Writer) giveUp(limit time.Time) (left []item, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stalled(closePatience) && time.Now().Before(limit) {
		return nil, false
	}
	left = s.queue
	if s.now.text != nil {
		left = append([]item{s.now}, left...)
	}
	s.now, s.queue, s.size = item{}, nil, 0
	return left, true
}

// stalled reports whether the present write has taken longer than limit. The caller holds mu.
func (s *Writer) stalled(limit time.Duration) bool {
	return s.now.text != nil && time.Since(s.begun) > limit
}

// lines returns how many lines a text has, at least one.
func lines(text []byte) uint64 { return uint64(max(1, bytes.Count(text, []byte("\n")))) }
