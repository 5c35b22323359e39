package server

import (
	"net/netip"
	"sync"
	"time"
)

// banRules say when failed logins become a ban, and for how long.
//
// Many people may share one source: an office behind one address. A neighbour who fails must not lock them out for long,
// so a source from which a right token came within memory needs many more failures, and its ban never grows. A ban turns
// away new logins only; sessions that are there go on. Otherwise each ban of a source is twice as long as the one before.
type banRules struct {
	limit      int           // failures within window that are a ban
	knownLimit int           // the same for a source that a right token came from
	window     time.Duration // counted from the first failure
	first      time.Duration // the length of the first ban
	most       time.Duration // the length at which it stops doubling
	memory     time.Duration // after so long a right token, or a ban, is forgotten
	sources    int           // how many are remembered
}

func defaultBanRules() banRules {
	return banRules{
		limit: 10, knownLimit: 100, window: time.Minute, first: time.Minute, most: 15 * time.Minute,
		memory: time.Hour, sources: 16 << 10,
	}
}

// bans knows who has failed to log in too often. The zero prefix stands for a source that is never banned.
type bans struct {
	rules banRules
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

func newBans(rules banRules, now func() time.Time) *bans {
	return &bans{rules: rules, now: now, failed: newRecent[failures](rules.sources), known: newRecent[time.Time](rules.sources)}
}

// left returns for how long source is banned yet, 0 if it is not.
func (b *bans) left(source netip.Prefix) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed.get(source)
	if f == nil {
		return 0
	}
	return max(f.until.Sub(b.now()), 0)
}

// fail notes a failed login and returns the length of the ban that it brings, 0 if none. live tells that source has a
// session.
func (b *bans) fail(source netip.Prefix, live bool) time.Duration {
	if !source.IsValid() {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	f := b.failed.touch(source)
	if now.Sub(f.since) >= b.rules.window {
		f.since, f.count = now, 0
	}
	f.count++
	if last := b.known.get(source); last != nil && now.Sub(*last) < b.rules.memory {
		live = true
	}
	limit := b.rules.limit
	if live {
		limit = b.rules.knownLimit
	}
	if f.count < limit {
		return 0
	}
	if live || now.Sub(f.until) >= b.rules.memory {
		f.length = 0
	}
	f.length = min(max(2*f.length, b.rules.first), b.rules.most)
	f.until, f.count = now.Add(f.length), 0
	return f.length
}

// succeed notes that a right token came from source. It takes no failure back: whoever has one token must not guess
// others without end.
func (b *bans) succeed(source netip.Prefix) {
	if !source.IsValid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.known.touch(source) = b.now()
}
