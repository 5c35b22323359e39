package dial

import (
	"maps"
	"sync"
	"time"

	"tunnel/transport"
)

// Times are how long the steps of a connection have taken. Its methods may be called concurrently.
// A nil *Times takes no time.
type Times struct {
	mu    sync.Mutex
	steps map[transport.Step]time.Duration // guarded by mu
}

// Begin begins a step, which takes until the returned function is called.
func (t *Times) Begin(step transport.Step) (end func()) {
	began := time.Now()
	return func() { t.add(step, time.Since(began)) }
}

func (t *Times) add(step transport.Step, took time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.steps == nil {
		t.steps = map[transport.Step]time.Duration{}
	}
	t.steps[step] += took
}

// Steps returns how long each step has taken.
func (t *Times) Steps() map[transport.Step]time.Duration {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.steps)
}
