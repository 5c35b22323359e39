// Package spool keeps a program going whose output nobody reads: a terminal that is stopped (Ctrl-S), a full pipe, a log
// driver that hangs. Lines wait in a bounded queue, and one goroutine writes them.
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

// limit is how many bytes may wait. What is kept is the newest.
const limit = 256 << 10

// Close waits for closeLimit at most, and no longer than stallLimit for a reader that takes nothing.
const (
	closeLimit = time.Second
	stallLimit = 300 * time.Millisecond
)

// Writer writes to another writer, in order, each Write by one Write. Until Detach is called a Write waits until it is
// done, as a command's output has to. All methods may be called concurrently.
type Writer struct {
	to       io.Writer
	detach   sync.Once
	detached chan struct{}
	done     chan struct{} // closed when the goroutine has ended
	notice   atomic.Pointer[func(lines uint64) []byte]

	mu     sync.Mutex
	filled *sync.Cond // of mu: queue is not empty, or closed
	queue  []item     // guarded by mu, as all below
	size   int        // bytes in queue
	lost   uint64     // lines that were left out since the last notice
	taken  uint64     // items that were taken from the queue
	closed bool
}

// item is what one Write was given.
type item struct {
	text    []byte
	written chan error // has room for one; nil if nobody waits
}

// New returns a Writer to w, which only the Writer may write to. Close it.
func New(w io.Writer) *Writer {
	s := &Writer{to: w, detached: make(chan struct{}), done: make(chan struct{})}
	s.filled = sync.NewCond(&s.mu)
	s.SetNotice(func(lines uint64) []byte {
		return fmt.Appendf(nil, "left out: %d lines, for nobody read them\n", lines)
	})
	go s.run()
	return s
}

// SetNotice sets what makes the line that stands where lines were left out.
func (s *Writer) SetNotice(notice func(lines uint64) []byte) { s.notice.Store(&notice) }

// Detach lets Write return at once from now on, also one that waits. What does not fit into the queue then pushes out
// the oldest; a notice in its place says how many lines that were.
func (s *Writer) Detach() { s.detach.Do(func() { close(s.detached) }) }

// errClosed is what Write returns after Close.
var errClosed = errors.New("the output is closed")

// Write implements io.Writer. After Detach there is no error but that of a closed Writer.
func (s *Writer) Write(b []byte) (int, error) {
	it := item{text: bytes.Clone(b)}
	select {
	case <-s.detached:
	default:
		it.written = make(chan error, 1)
	}
	if !s.push(it) {
		return 0, errClosed
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

func (s *Writer) push(it item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.queue = append(s.queue, it)
	s.size += len(it.text)
	for it.written == nil && s.size > limit && len(s.queue) > 1 {
		s.lost += lines(s.pop().text)
	}
	s.filled.Signal()
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

// run writes what is in the queue until Close, and then the rest.
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
		it, lost := s.pop(), s.lost
		s.lost = 0
		s.taken++
		s.mu.Unlock()
		text := it.text
		if lost > 0 {
			text = append((*s.notice.Load())(lost), text...)
		}
		_, err := s.to.Write(text)
		if it.written != nil {
			it.written <- err
		} else if err != nil { // a full disk, or a reader that has gone
			s.mu.Lock()
			s.lost += lost + lines(it.text)
			s.mu.Unlock()
		}
	}
}

// Close writes what waits, as far as somebody reads it within a second, and less when nobody reads at all. What is left
// then is lost with the end of the program: the goroutine stays until the write that it is in returns.
func (s *Writer) Close() {
	s.Detach()
	s.mu.Lock()
	s.closed = true
	s.filled.Signal()
	s.mu.Unlock()
	end := time.NewTimer(closeLimit)
	defer end.Stop()
	for {
		before := s.progress()
		select {
		case <-s.done:
			return
		case <-end.C:
			return
		case <-time.After(stallLimit):
			if s.progress() == before {
				return
			}
		}
	}
}

// progress returns how many items were taken from the queue so far.
func (s *Writer) progress() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

// lines returns how many lines a text has, at least one.
func lines(text []byte) uint64 { return uint64(max(1, bytes.Count(text, []byte("\n")))) }
