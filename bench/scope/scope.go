// Package scope runs a function with a lab outside of a test.
package scope

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"tunnel/e2e/lab"
)

// termWait is how long programs have to undo their changes after SIGTERM, before SIGKILL.
const termWait = 3 * time.Second

// Soon bounds each wait for an event that should happen at once.
const Soon = 30 * time.Second

// Scope is a lab.TB whose failure is the error of Within.
type Scope struct {
	name  string
	logf  func(format string, args ...any)
	ended <-chan struct{} // closed when ctx ends

	mu       sync.Mutex // guards the rest
	cleanups []func()
	hosts    []*lab.Host
	err      error
}

// Within runs f with a new scope, then the scope's cleanups, and returns the error of f's failure.
// The end of ctx ends the programs in the hosts, so that f fails soon.
func Within(ctx context.Context, name string, logf func(string, ...any), f func(*Scope)) error {
	s := &Scope{name: name, logf: logf, ended: ctx.Done()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.cleanup()
		f(s)
	}()
	select {
	case <-done:
		return s.err
	case <-ctx.Done():
	}
	for begin := time.Now(); ; {
		signal := syscall.SIGTERM
		if time.Since(begin) > termWait {
			signal = syscall.SIGKILL
		}
		s.end(signal) //nolint:contextcheck // ctx has ended
		select {
		case <-done:
			return context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Helper implements lab.TB.
func (s *Scope) Helper() {}

// Name implements lab.TB.
func (s *Scope) Name() string { return s.name }

// Logf implements lab.TB.
func (s *Scope) Logf(format string, args ...any) {
	s.logf("%s: %s", s.name, fmt.Sprintf(format, args...))
}

// Fatalf ends the goroutine of f. Within returns the first failure.
func (s *Scope) Fatalf(format string, args ...any) {
	s.mu.Lock()
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
	s.mu.Unlock()
	runtime.Goexit()
}

// Cleanup adds a function to run after f, before those that were added earlier.
func (s *Scope) Cleanup(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, fn)
}

func (s *Scope) cleanup() {
	s.mu.Lock()
	last := len(s.cleanups) - 1
	if last < 0 {
		s.mu.Unlock()
		return
	}
	fn := s.cleanups[last]
	s.cleanups = s.cleanups[:last]
	s.mu.Unlock()
	defer s.cleanup() // also if fn fails, which ends the goroutine
	fn()
}

// Must fails the scope if err is not nil.
func (s *Scope) Must(err error) {
	if err != nil {
		s.Fatalf("%w", err)
	}
}

// Sleep waits, and fails the scope if ctx ends.
func (s *Scope) Sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ended:
		s.Fatalf("interrupted")
	}
}

// Host makes a host in l. The end of ctx ends its programs.
func (s *Scope) Host(l *lab.Lab, name string) *lab.Host {
	h := l.Host(name)
	s.watch(h)
	return h
}

func (s *Scope) watch(h *lab.Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts = append(s.hosts, h)
}

// end sends a signal to every program in the hosts.
func (s *Scope) end(signal syscall.Signal) {
	s.mu.Lock()
	hosts := s.hosts
	s.mu.Unlock()
	for _, h := range hosts {
		pids, err := pidsOf(h)
		if err != nil {
			continue // the host is gone, or not there yet
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, signal)          // it may have ended meanwhile
			_ = syscall.Kill(pid, syscall.SIGCONT) // a stopped one would not end
		}
	}
}

// pidsOf is h.Pids without Fatalf, which is for the goroutine of f only.
func pidsOf(h *lab.Host) ([]int, error) {
	out, err := exec.CommandContext(context.Background(), "ip", "netns", "pids", h.NS()).Output()
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", h.Name(), err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list the processes of %s: %w", h.Name(), err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
