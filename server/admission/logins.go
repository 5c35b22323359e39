package admission

import (
	"math"
	"sync"
	"time"

	limit "golang.org/x/time/rate"
)

const (
	// fewSessions is how many sessions count, where logins and leases are limited, for a token that
	// may have fewer: a machine that lost its state comes as another one.
	fewSessions = 8
	// manySessions is how many count, where logins are limited, for a token that may have any
	// number.
	manySessions = 2048
)

// A Quota is what one token may have.
type Quota struct {
	Sessions int // at once, lanes counted once; 0 is no limit
	Lanes    int // connections of one session; at least 1
}

// Leases returns how many address pairs a token may take up, for sessions that are there and
// machines that are away; 0 is no limit.
func (q Quota) Leases() int {
	if q.Sessions == 0 {
		return 0
	}
	return 2 * max(q.Sessions, fewSessions)
}

// logins returns a token bucket that lets all sessions, with all their lanes, come back at once,
// and do so again.
func (q Quota) logins() (perSecond limit.Limit, burst int) {
	sessions := q.Sessions
	if sessions == 0 {
		sessions = manySessions
	}
	return limit.Limit(sessions), 2 * max(sessions, fewSessions) * q.Lanes
}

// Logins limits how often each token logs in. Its methods may be called concurrently.
type Logins struct {
	mu      sync.Mutex
	buckets map[string]*limit.Limiter // by the token's id; one that is full is left out
}

// Wait notes a login with a token. It returns 0 if its quota allows that, else after which time to
// come back.
func (l *Logins) Wait(id string, q Quota, now time.Time) time.Duration {
	perSecond, burst := q.logins()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[id]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[string]*limit.Limiter{}
		}
		b = limit.NewLimiter(perSecond, burst)
		l.buckets[id] = b
	}
	if b.AllowN(now, 1) {
		return 0
	}
	missing := 1 - b.TokensAt(now)
	return time.Duration(math.Ceil(missing/float64(perSecond)*1e3)) * time.Millisecond
}

// Sweep forgets the tokens that have not logged in for so long that it makes no difference.
func (l *Logins) Sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(l.buckets, id)
		}
	}
}
