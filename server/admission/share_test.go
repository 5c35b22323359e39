package admission

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// spin uses processor time.
func spin(d time.Duration) {
	began := threadTime()
	for threadTime()-began < d {
		runtime.KeepAlive(began)
	}
}

// Handshakes take no more than their share of the processors.
func TestShare(t *testing.T) {
	s := newShare(time.Now)
	s.left = 0
	const cost = 2 * time.Millisecond
	var done, refused atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for range 40 {
		group.Go(func() {
			for time.Since(began) < time.Second {
				end, ok := s.begin()
				if !ok {
					refused.Add(1)
					continue
				}
				spin(cost)
				end()
				done.Add(1)
			}
		})
	}
	group.Wait()
	took := time.Since(began)
	used := time.Duration(done.Load()) * cost
	allowed := time.Duration(cpuShare * float64(runtime.GOMAXPROCS(0)) * float64(took))
	t.Logf("%v of processor time in %v, %v allowed", used, took, allowed)
	if used > allowed+allowed/2 { // the first are charged with a guess
		t.Errorf("used %v of processor time in %v; want about %v", used, took, allowed)
	}
	if used == 0 {
		t.Error("no handshake had its turn")
	}
}

// When there is no time for all that wait, the newest has its turn first, and those that waited too
// long are refused.
func TestShareNewestFirst(t *testing.T) {
	c := newClock()
	s := newShare(func() time.Time { return c.now })
	s.left = -time.Hour
	s.after = func(time.Duration, func()) {} // the test calls next
	type result struct {
		i  int
		ok bool
	}
	results := make(chan result, waitingMost+10)
	for i := range waitingMost + 2 {
		go func() { results <- result{i, s.take()} }()
		for waits := 0; waits < min(i+1, waitingMost); {
			runtime.Gosched()
			s.mu.Lock()
			waits = len(s.waiting)
			s.mu.Unlock()
		}
		if i >= waitingMost { // one had to go for it
			if r := <-results; r.ok || r.i != i-waitingMost {
				t.Errorf("%+v; want the oldest to be refused", r)
			}
		}
	}
	s.mu.Lock()
	s.left = s.cost / 2
	s.mu.Unlock()
	s.next()
	if r := <-results; !r.ok || r.i != waitingMost+1 {
		t.Errorf("%+v; want the newest to have its turn", r)
	}
	c.pass(patience)
	s.mu.Lock()
	s.left = -time.Hour
	s.mu.Unlock()
	s.next()
	for range waitingMost - 1 {
		if r := <-results; r.ok {
			t.Errorf("%+v; want it to be refused after so long", r)
		}
	}
}
