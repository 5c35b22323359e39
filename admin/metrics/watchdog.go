package metrics

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errStuck is that of a program whose check does not return.
var errStuck = errors.New("the program is stuck")

// watchdog runs a check for those who ask, once for all of them at a time.
type watchdog struct {
	check func()

	mu      sync.Mutex
	running chan struct{} // guarded by mu; closed when the check has returned; nil if none runs
}

// ask returns errStuck if a check that runs, or begins now, does not return within limit.
func (w *watchdog) ask(ctx context.Context, limit time.Duration) error {
	w.mu.Lock()
	done := w.running
	if done == nil {
		done = make(chan struct{})
		w.running = done
		go func() {
			w.check()
			w.mu.Lock()
			w.running = nil
			w.mu.Unlock()
			close(done)
		}()
	}
	w.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errStuck
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
