package keyed

import (
	"sync"
	"testing"
	"time"
)

// One key excludes, another does not, and no key is kept once nobody uses it.
func TestMutex(t *testing.T) {
	var m Mutex[string]
	var group sync.WaitGroup
	inside := 0
	for range 50 {
		group.Go(func() {
			defer m.Lock("a")()
			inside++ // the race detector, and the sum, tell if two are here
		})
	}
	group.Wait()
	if inside != 50 {
		t.Errorf("%d were inside; want 50", inside)
	}
	unlock := m.Lock("a")
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Lock("b")()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("another key waits")
	}
	unlock()
	if len(m.locks) != 0 {
		t.Errorf("%d keys are kept", len(m.locks))
	}
}
