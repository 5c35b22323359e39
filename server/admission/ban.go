package admission

import (
	"net/netip"
	"sync"
	"time"
)

// BanRules say when failed logins become a ban, and for how long.
//
// Many people may share one source: an office behind one address. A neighbour who fails must not
// lock them out for long, so a source from which a right token came within Memory needs many more
// failures, and its ban never grows. A ban turns away new logins only; sessions that are there go
// on. Otherwise each ban of a source is twice as long as the one before.
type BanRules struct {
	Limit      int           // failures within Window that are a ban
	KnownLimit int           // the same for a source that a right token came from
	Window     time.Duration // counted from the first failure
	First      time.Duration // the length of the first ban
	Most       time.Duration // the length at which it stops doubling
	Memory     time.Duration // after so long a right token, or a ban, is forgotten
	Sources    int           // how many are remembered
}

// DefaultBanRules returns the rules that docs/SECURITY.md promises.
func DefaultBanRules() BanRules {
	return BanRules{
		Limit: 10, KnownLimit: 100, Window: time.Minute, First: time.Minute, Most: 15 * time.Minute,
		Memory: time.Hour, Sources: 16 << 10,
	}
}

// Bans knows who has failed to log in too often. The zero prefix stands for a source that is never
// banned.
type Bans struct {
	rules BanRules
	now   func() time.Time

	mu     sync.Mutex
	failed *recent[failures]
	known  *recent[time.Time] // when a right token came last
}

// failures are those of one source.
type failures struct {
	since  time.Time // when the first of this window was
	count  int
	until  time.Time     // the end of its latest ban
	length time.Duration // of its latest ban
}

// NewBans returns a Bans that knows nobody yet. now is the clock.
func NewBans(rules BanRules, now func() time.Time) *Bans {
	return &Bans{rules: rules, now: now, failed: newRecent[failures](rules.Sources),
		known: newRecent[time.Time](rules.Sources)}
}

// Left returns for how long source is banned yet, 0 if it is not.
func (b *Bans) Left(source netip.Prefix) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed.get(source)
	if f == nil {
		return 0
	}
	return max(f.until.Sub(b.now()), 0)
}

// Fail notes a failed login and returns the length of the ban that it brings, 0 if none. live tells
// that source has a session.
func (b *Bans) Fail(source netip.Prefix, live bool) time.Duration {
	if !source.IsValid() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	f := b.failed.touch(source)
	if now.Sub(f.since) >= b.rules.Window {
		f.since, f.count = now, 0
	}
	f.count++
	live = live || b.isKnown(source, now)
	limit := b.rules.Limit
	if live {
		limit = b.rules.KnownLimit
	}
	if f.count < limit {
		return 0
	}
	if live || now.Sub(f.until) >= b.rules.Memory {
		f.length = 0
	}
	f.length = min(max(2*f.length, b.rules.First), b.rules.Most)
	f.until, f.count = now.Add(f.length), 0
	return f.length
}

// Succeed notes that a right token came from source. It takes no failure back: a client that has
// one token must not guess others without end.
func (b *Bans) Succeed(source netip.Prefix) {
	if !source.IsValid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.known.touch(source) = b.now()
}

// Known reports whether a right token came from source within BanRules.Memory.
func (b *Bans) Known(source netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isKnown(source, b.now())
}

func (b *Bans) isKnown(source netip.Prefix, now time.Time) bool {
	last := b.known.get(source)
	return last != nil && now.Sub(*last) < b.rules.Memory
}
