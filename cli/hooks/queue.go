package hooks

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tunnel/admin/audit"
	"tunnel/loglimit"
)

// Limits of the calls that clients cause, however they come and go.
const (
	maxCalls  = 1024             // that wait
	callLimit = 10 * time.Second // that one may take
	callRate  = 10               // a second
	callBurst = 100
	// lastLimit bounds the calls that still wait at the end, all together.
	lastLimit = 500 * time.Millisecond
	// fullPause is the time between two lines that say that there is no room.
	fullPause = time.Minute
)

// A Queue runs calls one at a time, in order, so that the end of a session never comes before its
// begin. A session that ends while the call about its begin waits has neither: clients of one token
// that come and go do not hold up the calls about others. Make it with NewQueue, and close it.
type Queue struct {
	limited *loglimit.Handler
	log     *slog.Logger
	limit   time.Duration // callLimit
	last    time.Duration // lastLimit
	pace    *rate.Limiter
	wake    chan struct{}      // has an element when there is a call, closed by Close
	running context.Context    //nolint:containedctx // of calls, to their end in Close
	stop    context.CancelFunc // ends them
	ended   chan struct{}      // closed when no call runs any more

	mu      sync.Mutex
	calls   []Call // guarded by mu, as all below
	closed  bool
	skipped uint64 // calls for which there was no room
	full    rate.Sometimes
}

// NewQueue returns a Queue without a call. log has what failed.
func NewQueue(log *slog.Logger) *Queue { return newQueue(log, callLimit, lastLimit) }

func newQueue(log *slog.Logger, limit, last time.Duration) *Queue {
	q := &Queue{limited: loglimit.New(log.Handler()), limit: limit, last: last,
		pace: rate.NewLimiter(callRate, callBurst), wake: make(chan struct{}, 1),
		ended: make(chan struct{}), full: rate.Sometimes{Interval: fullPause}}
	q.log = slog.New(q.limited)
	q.running, q.stop = context.WithCancel(context.Background())
	go q.run()
	return q
}

// Add has a call run after those before it, without waiting. If too many wait, or too many about
// its token, it is skipped, which the log says.
func (q *Queue) Add(c Call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.About.Event == audit.SessionEnded && q.forget(c.About.Session) || c.Command == "" {
		return
	}
	if q.closed || q.isFull(c.About) {
		q.skipped++
		q.full.Do(func() {
			q.log.Warn("hooks are skipped: clients come and go faster than they end", "flag",
				"--"+c.Flag, "skipped", q.skipped, "waiting", len(q.calls))
		})
		return
	}
	q.calls = append(q.calls, c)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// forget removes the call about a session's begin if it waits, and reports whether it did. The
// caller holds mu.
func (q *Queue) forget(session uint64) bool {
	i := slices.IndexFunc(q.calls, func(c Call) bool {
		return c.About.Event == audit.SessionStarted && c.About.Session == session
	})
	if i < 0 {
		return false
	}
	q.calls = slices.Delete(q.calls, i, i+1)
	return true
}

// isFull reports whether too many calls about e's token wait: more than there is room left for all,
// so that one token alone has half of it. The caller holds mu.
func (q *Queue) isFull(e audit.Entry) bool {
	waiting, most := 0, maxCalls-len(q.calls)
	for _, c := range q.calls {
		if c.About.TokenID == e.TokenID && c.About.Token == e.Token {
			waiting++
		}
	}
	if e.Event == audit.SessionEnded { // its begin has had a call
		most *= 2
	}
	return waiting >= most
}

// run runs calls until Close.
func (q *Queue) run() {
	defer close(q.ended)
	for range q.wake {
		for {
			c, ok := q.next()
			if !ok {
				break
			}
			_ = q.pace.Wait(q.running) // it fails at the end only
			c.run(q.running, q.limit, true, q.log)
		}
	}
}

// next takes the first call that waits.
func (q *Queue) next() (c Call, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.calls) == 0 || q.running.Err() != nil {
		return Call{}, false
	}
	c = q.calls[0]
	q.calls = q.calls[1:]
	return c, true
}

// Close runs the calls that wait, for half a second at most, kills the one that runs then, and
// returns.
func (q *Queue) Close() {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.closed = true
	q.pace.SetLimit(rate.Inf)
	close(q.wake)
	q.mu.Unlock()
	timer := time.AfterFunc(q.last, q.stop)
	<-q.ended
	timer.Stop()
	q.stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	if left := uint64(len(q.calls)) + q.skipped; left > 0 {
		q.log.Warn("hooks were skipped", "skipped", left)
	}
	q.limited.Close()
}
