package admission

import (
	"math"
	"sync"
	"time"

	limit "golang.org/x/time/rate"
)

const (
	// fewSessions is the least number of sessions from which the limits of logins and leases are
	// computed: a machine that lost its state comes back as another one.
	fewSessions = 8
	// manySessions is the number for a token without a limit, for logins.
	manySessions = 2048
)

// A Quota is what one token may have.
type Quota struct {
	Sessions int // at once, each with all its connections; 0 is no limit
	Lanes    int // connections of one session; at least 1
}

// Leases returns how many address pairs a token may have, for its sessions and for machines that
// are away; 0 is no limit.
func (q Quota) Leases() int {
	if q.Sessions == 0 {
		return 0
	}
	return 2 * max(q.Sessions, fewSessions)
}

// logins returns the token bucket of a token. It lets all sessions reconnect at once with all their
// connections, twice in a row.
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
	buckets map[string]*limit.Limiter // by the token's id; a full one may be missing
}

// Wait records a login with a token. It returns 0 if the quota allows the login, else how long the
// client has to wait.
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

// Sweep removes full buckets.
func (l *Logins) Sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(l.buckets, id)
		}
	}
}
