package record

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tunnel/admin/audit"
)

// The lines about begins and ends of sessions that there may be at once and then, of one token, and
// with it from one IPv4 address or IPv6 /64: a client that comes and goes must not push the history
// out of the files that are kept. Hooks are told of all.
const (
	tokenBurst  = 4000
	tokenPause  = time.Second
	sourceBurst = 400
	sourcePause = 10 * time.Second
	maxLimits   = 4096 // tokens and addresses that are remembered
	maxOmitted  = 64   // tokens that one line counts
	// omittedPause is the least time between two lines about what was left out.
	omittedPause = time.Minute
)

// source is where sessions of a token come from.
type source struct {
	token string
	from  netip.Prefix
}

// sessionLimits choose which entries about sessions are written. Make them with newSessionLimits.
type sessionLimits struct {
	tokens  map[string]*rate.Limiter
	sources map[source]*rate.Limiter
	omitted map[string]uint64 // entries, by their tokens, that no line has counted yet
	said    time.Time         // when the last line counted some
}

func newSessionLimits() *sessionLimits {
	return &sessionLimits{tokens: map[string]*rate.Limiter{}, sources: map[source]*rate.Limiter{},
		omitted: map[string]uint64{}}
}

// take returns the entries to write. The first may count those that were left out before.
func (l *sessionLimits) take(entries []audit.Entry, now time.Time) (kept []audit.Entry) {
	stops := slices.ContainsFunc(entries, isStop)
	for _, e := range entries {
		session := e.Event == audit.SessionStarted || e.Event == audit.SessionEnded
		if !session || l.allows(e, now) {
			kept = append(kept, e)
			continue
		}
		if _, ok := l.omitted[e.Token]; ok || len(l.omitted) < maxOmitted {
			l.omitted[e.Token]++
		}
	}
	if (stops || now.Sub(l.said) >= omittedPause) && len(entries) > 0 {
		kept = append(l.count(entries[0].Dev, now), kept...)
	}
	return kept
}

// count returns an entry about what was left out, if something was.
func (l *sessionLimits) count(dev string, now time.Time) []audit.Entry {
	if len(l.omitted) == 0 {
		return nil
	}
	e := audit.Entry{Time: now, Event: audit.SessionsOmitted, Dev: dev, Omitted: l.omitted}
	e.Tidy()
	l.omitted, l.said = map[string]uint64{}, now
	return []audit.Entry{e}
}

func (l *sessionLimits) allows(e audit.Entry, now time.Time) bool {
	of := limit(l.sources, source{e.Token, audit.SourceOf(e.Remote)}, sourcePause, sourceBurst)
	return of.AllowN(now, 1) && limit(l.tokens, e.Token, tokenPause, tokenBurst).AllowN(now, 1)
}

// limit returns the Limiter of a key. If there are too many all are forgotten.
func limit[K comparable](all map[K]*rate.Limiter, key K, pause time.Duration,
	burst int) *rate.Limiter {
	if all[key] == nil {
		if len(all) >= maxLimits {
			clear(all)
		}
		all[key] = rate.NewLimiter(rate.Every(pause), burst)
	}
	return all[key]
}

func isStop(e audit.Entry) bool { return e.Event == audit.HubStopped }
