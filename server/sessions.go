package server

import (
	"sync"

	"tunnel/defect"
)

// sessions waits for the end of requests, and of the sessions that they began.
type sessions struct {
	mu    sync.Mutex
	ended bool
	group sync.WaitGroup
}

// do runs f unless wait was called. A panic of f is returned as an error.
func (s *sessions) do(f func()) error {
	if s.begin() {
		defer s.group.Done()
		return defect.Do(f)
	}
	return nil
}

// start runs f on a goroutine of its own. It returns false after wait, and f does not run.
func (s *sessions) start(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.group.Done()
		f()
	}()
	return true
}

func (s *sessions) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.group.Add(1)
	}
	return !s.ended
}

func (s *sessions) wait() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.group.Wait()
}
