package server

import (
	"errors"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tunnel/auth"
	"tunnel/transport"
)

// errSessions says that a token has as many sessions as it may have.
var errSessions = errors.New("the token has as many sessions as it may have")

const (
	// fewSessions is how many a token has that may have fewer, where its logins and leases are counted: a machine that lost
	// its state comes as another one.
	fewSessions = 8
	// manySessions is how many a token has that may have any number, where its logins are counted.
	manySessions = 2048
)

// maxSessions returns how many sessions a token may have at once; 0 is no limit.
func (s *Server) maxSessions(t auth.Token) int {
	if t.MaxSessions != nil {
		return *t.MaxSessions
	}
	return s.MaxSessions
}

// maxLeases returns how many pairs a token may take up, for sessions that are there and machines that are away; 0 is no
// limit.
func (s *Server) maxLeases(t auth.Token) int {
	n := s.maxSessions(t)
	if n == 0 {
		return 0
	}
	return 2 * max(n, fewSessions)
}

// logins limits how often each token logs in.
type logins struct {
	mu      sync.Mutex
	buckets map[string]*rate.Limiter // by the token's id; one that is full is left out
}

// wait takes note of a login with t. It returns 0 if that is not one too many, else after which time to come back.
func (s *Server) wait(t auth.Token, now time.Time) time.Duration {
	if t.Anonymous() {
		return 0
	}
	sessions := s.maxSessions(t)
	if sessions == 0 {
		sessions = manySessions
	}
	// All of them, with all their lanes, may come back at once, and do so again.
	burst := 2 * max(sessions, fewSessions) * s.most(transport.MaxLanes)
	return s.logins.wait(t.ID, rate.Limit(sessions), burst, now)
}

func (l *logins) wait(id string, refill rate.Limit, burst int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[id]
	if b == nil {
		if l.buckets == nil {
			l.buckets = map[string]*rate.Limiter{}
		}
		b = rate.NewLimiter(refill, burst)
		l.buckets[id] = b
	}
	if b.AllowN(now, 1) {
		return 0
	}
	missing := 1 - b.TokensAt(now)
	return time.Duration(math.Ceil(missing/float64(refill)*1e3)) * time.Millisecond
}

// sweep forgets the tokens that have not come for so long that it makes no difference.
func (l *logins) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, b := range l.buckets {
		if b.TokensAt(now) >= float64(b.Burst()) {
			delete(l.buckets, id)
		}
	}
}
