package admission

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// cpuShare is the part of the processors' time that handshakes of unknown sources may take.
	cpuShare = 0.25
	// cpuBurst is for how long they may take all of it after a rest.
	cpuBurst = 250 * time.Millisecond
	// firstCost is the guess at one handshake's time before one was measured.
	firstCost = 500 * time.Microsecond
	// leastCost is charged at least: a HelloRetryRequest ends what is measured before the costly
	// part has begun.
	leastCost = 250 * time.Microsecond
	// patience is how long a handshake waits for its turn at most.
	patience = 3 * time.Second
	// waitingMost is how many may wait.
	waitingMost = 512
)

// share is a token bucket of processor time. When there is more to do than it allows the newest
// goes first: it is the one whose client still waits, while in a queue that is too long everybody's
// turn comes too late.
type share struct {
	second time.Duration // of processor time in a second
	most   time.Duration
	now    func() time.Time
	after  func(time.Duration, func()) // starts a timer

	mu      sync.Mutex
	left    time.Duration
	then    time.Time     // when left was right
	cost    time.Duration // of one handshake, of late
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

// begin waits for the caller's turn, for patience at most, and reports whether it came. The caller
// then calls end, on the same goroutine, when the costly part is over: the goroutine keeps its
// thread meanwhile, whose clock tells the cost.
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

// queue reports whether it is the caller's turn at once; else it waits in line for it.
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

// settle corrects by what a handshake took what take has taken for it.
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

// next gives their turn to as many as there is time for.
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

// arm has next called when there is time again, if somebody waits.
func (s *share) arm() {
	if s.armed || len(s.waiting) == 0 {
		return
	}
	s.armed = true
	short := time.Millisecond - s.left // a few at once: each wake-up costs, too
	s.after(time.Duration(float64(short)/float64(s.second)*float64(time.Second)), s.next)
}

// threadTime returns the processor time that the calling thread has used, 0 if the kernel does not
// say.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
