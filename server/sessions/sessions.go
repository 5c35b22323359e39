// Package sessions waits for what a server has begun.
package sessions

import (
	"sync"

	"tunnel/defect"
)

// Group waits for the end of requests, and of the sessions that they began.
type Group struct {
	mu    sync.Mutex
	ended bool
	group sync.WaitGroup
}

// Do runs f unless Wait was called. A panic of f is returned as an error.
func (s *Group) Do(f func()) error {
	if s.begin() {
		defer s.group.Done()
		return defect.Do(f)
	}
	return nil
}

// Start runs f on a goroutine of its own. It returns false after Wait, and f does not run.
func (s *Group) Start(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.group.Done()
		f()
	}()
	return true
}

func (s *Group) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.group.Add(1)
	}
	return !s.ended
}

// Wait waits until all that was begun is over, and lets nothing begin any more.
func (s *Group) Wait() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.group.Wait()
}
