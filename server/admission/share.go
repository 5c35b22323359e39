package admission

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cpuShare is the share of the processors' time for handshakes of unknown sources.
	cpuShare = 0.25
	// cpuBurst is how long they may use all processors after a rest.
	cpuBurst = 250 * time.Millisecond
	// firstCost is assumed for a handshake before one was measured.
	firstCost = 500 * time.Microsecond
	// leastCost is the least that a handshake is charged: if there is a HelloRetryRequest, the
	// measurement ends before the expensive part.
	leastCost = 250 * time.Microsecond
	// patience is the longest that a handshake waits for its turn.
	patience = 3 * time.Second
	// waitingMost is how many handshakes may wait.
	waitingMost = 512
)

// share is a token bucket of processor time. Under overload the newest handshake goes first,
// because its client still waits; first come, first served would serve all of them too late.
type share struct {
	second time.Duration // of processor time, a second
	most   time.Duration
	now    func() time.Time
	after  func(time.Duration, func()) // starts a timer

	mu      sync.Mutex
	left    time.Duration
	then    time.Time     // the time of left
	cost    time.Duration // of a handshake, a moving average
	waiting []waiter      // the newest last
	armed   bool          // a timer runs that will call next
}

type waiter struct {
	since time.Time
	turn  chan bool // has room for the one answer
}

func newShare(now func() time.Time) *share {
	processors := time.Duration(runtime.GOMAXPROCS(0))
	second := time.Duration(float64(processors*time.Second) * cpuShare)
	return &share{
		second: second, most: processors * cpuBurst, left: processors * cpuBurst, now: now,
		then: now(), cost: firstCost,
		after: func(d time.Duration, f func()) { time.AfterFunc(d, f) },
	}
}

// begin waits for the caller's turn, for at most patience, and reports whether it came. The caller
// then calls end after the expensive part, on the same goroutine, which is locked to its thread
// until then: the thread's clock measures the cost.
func (s *share) begin() (end func(), ok bool) {
	if !s.take() {
		return nil, false
	}
	runtime.LockOSThread()
	began := threadTime()
	return func() {
		took := threadTime() - began
		runtime.UnlockOSThread()
		s.settle(took)
	}, true
}

func (s *share) take() bool {
	w, now := s.queue()
	return now || <-w.turn
}

// queue reports whether it is the caller's turn already; if not, w is told when it is.
func (s *share) queue() (w waiter, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refill()
	if len(s.waiting) == 0 && s.left > 0 {
		s.left -= s.cost
		return waiter{}, true
	}
	w = waiter{s.now(), make(chan bool, 1)}
	if len(s.waiting) >= waitingMost {
		s.dropOldest()
	}
	s.waiting = append(s.waiting, w)
	s.arm()
	return w, false
}

// settle replaces the estimate that take took for a handshake by its real cost.
func (s *share) settle(took time.Duration) {
	took = max(took, leastCost)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left += s.cost - took
	s.cost += (took - s.cost) / 16
}

func (s *share) refill() {
	now := s.now()
	s.left = min(s.most, s.left+time.Duration(now.Sub(s.then).Seconds()*float64(s.second)))
	s.then = now
}

// next gives as many waiters their turn as there is time for, and ends the wait of the others after
// patience.
func (s *share) next() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	s.refill()
	for len(s.waiting) > 0 && s.now().Sub(s.waiting[0].since) >= patience {
		s.dropOldest()
	}
	for s.left > 0 && len(s.waiting) > 0 {
		newest := len(s.waiting) - 1
		s.waiting[newest].turn <- true
		s.waiting = s.waiting[:newest]
		s.left -= s.cost
	}
	s.arm()
}

func (s *share) dropOldest() {
	s.waiting[0].turn <- false
	s.waiting = append(s.waiting[:0], s.waiting[1:]...)
}

// arm starts a timer that calls next when there is time again, unless nobody waits.
func (s *share) arm() {
	if s.armed || len(s.waiting) == 0 {
		return
	}
	s.armed = true
	short := time.Millisecond - s.left // enough for several, because each wake-up costs too
	s.after(time.Duration(float64(short)/float64(s.second)*float64(time.Second)), s.next)
}

// threadTime returns the processor time of the calling thread, 0 if it is unknown.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
