package loglimit

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A client with a token has known lines of each kind at once, then one every pause. That is all of
// its lines while its connections break and come back as they do; a hundred clients that share a
// token, too. Of those who have not logged in, who can have as many addresses as they like, one
// address has fewer, and all of them together no more than a person reads.
const (
	known              = 100
	unauthenticated    = 20 // of all addresses
	oneUnauthenticated = 5
	// how lines begin that are limited as those of unauthenticated clients, whether or not there is
	// a token
	refused              = "refused"
	pause                = 5 * time.Second
	unauthenticatedPause = time.Minute // of one address

	// told is how long after a line was left out that is said, if no line of its kind has said it.
	told = time.Minute

	maxKinds   = 4096 // that are remembered; see get
	maxSources = 4096
)

// A kind is lines that share a limit: one message, about one token or about all who have none.
type kind struct {
	level           slog.Level
	message         string
	token           string
	unauthenticated bool
}

// A source is a kind of line about one address.
type source struct {
	kind
	who who
}

// A bucket limits one kind.
type bucket struct {
	limiter *rate.Limiter
	unsaid  uint64 // lines left out since the last that was not
}

// limits are what all loggers of one Handler share.
type limits struct {
	next slog.Handler // for what flush says

	mu      sync.Mutex
	kinds   map[kind]*bucket
	sources map[source]*bucket
	timer   *time.Timer // to say what is unsaid; nil is not set
}

// take reports whether a line may be logged, and how many of its kind were not since the last.
func (l *limits) take(level slog.Level, message string, about who,
	now time.Time) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := kind{level, message, about.token, about.token == "" && about.source.IsValid()}
	burst := known
	if k.unauthenticated || strings.HasPrefix(message, refused) {
		burst = unauthenticated
	}
	b := get(l.kinds, k, maxKinds, pause, burst)
	allowed := true
	if k.unauthenticated {
		allowed = get(l.sources, source{k, about}, maxSources, unauthenticatedPause,
			oneUnauthenticated).limiter.AllowN(now, 1)
	}
	if !allowed || !b.limiter.AllowN(now, 1) {
		b.unsaid++
		if l.timer == nil {
			l.timer = time.AfterFunc(told, l.flush)
		}
		return 0, false
	}
	suppressed, b.unsaid = b.unsaid, 0
	return suppressed, true
}

// get returns the bucket of a key, made full if there is none. Where there are too many, others are
// forgotten, whichever come first of the map's random order; but none whose lines are still to be
// counted.
func get[K comparable](all map[K]*bucket, key K, most int, every time.Duration, burst int) *bucket {
	b := all[key]
	if b != nil {
		return b
	}
	if len(all) >= most {
		for k, b := range all {
			if b.unsaid == 0 {
				delete(all, k)
			}
			if len(all) < most/4*3 {
				break
			}
		}
	}
	b = &bucket{limiter: rate.NewLimiter(rate.Every(every), burst)}
	all[key] = b
	return b
}

// flush says how many lines were left out of those kinds of which no line has come since.
func (l *limits) flush() {
	var lines []slog.Record
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	for k, b := range l.kinds {
		if b.unsaid == 0 {
			continue
		}
		line := slog.NewRecord(time.Now(), k.level, "lines left out", 0)
		line.AddAttrs(slog.String("of", k.message))
		if k.token != "" {
			line.AddAttrs(slog.String(Token, k.token))
		}
		line.AddAttrs(slog.Uint64(suppressedKey, b.unsaid))
		lines = append(lines, line)
		b.unsaid = 0
	}
	l.mu.Unlock()
	for _, line := range lines {
		// a log that cannot be written has nobody to tell
		_ = l.next.Handle(context.Background(), line)
	}
}
