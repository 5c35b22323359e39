package admission

import (
	"net/netip"
	"sync"
	"time"
)

// BanRules say how many failed logins cause a ban, and for how long.
//
// Each ban of a source is twice as long as the one before. Many people may share a source, such as
// an office behind one address, and one of them must not lock the others out: a source that sent a
// valid token within Memory needs many more failures, and its bans do not grow. A ban refuses new
// logins only; established sessions go on.
type BanRules struct {
	Limit      int           // failures within Window that cause a ban
	KnownLimit int           // the same for a source that sent a valid token
	Window     time.Duration // begins with the first failure
	First      time.Duration // the length of the first ban
	Most       time.Duration // the length of the longest
	Memory     time.Duration // how long a valid token, or a ban, is remembered
	Sources    int           // how many are remembered
}

// DefaultBanRules returns the rules that docs/SECURITY.md promises.
func DefaultBanRules() BanRules {
	return BanRules{
		Limit: 10, KnownLimit: 100, Window: time.Minute, First: time.Minute, Most: 15 * time.Minute,
		Memory: time.Hour, Sources: 16 << 10,
	}
}

// Bans remembers which sources failed to log in too often. The zero prefix is never banned. All
// methods may be called concurrently.
type Bans struct {
	rules BanRules
	now   func() time.Time

	mu     sync.Mutex
	failed *recent[failures]
	known  *recent[time.Time] // when the last valid token came
}

// failures are the failed logins of a source.
type failures struct {
	since  time.Time // the start of the window
	count  int
	until  time.Time     // the end of its latest ban
	length time.Duration // of its latest ban
}

// NewBans returns a Bans without any source. now is the clock.
func NewBans(rules BanRules, now func() time.Time) *Bans {
	return &Bans{rules: rules, now: now, failed: newRecent[failures](rules.Sources),
		known: newRecent[time.Time](rules.Sources)}
}

// Left returns how long source is still banned, 0 if it is not.
func (b *Bans) Left(source netip.Prefix) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed.get(source)
	if f == nil {
		return 0
	}
	return max(f.until.Sub(b.now()), 0)
}

// Fail records a failed login, and returns the length of the ban that it causes, 0 if none. live
// reports whether source has a session.
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

// Succeed records a valid token from source. Earlier failures still count: a client with one token
// must not be able to guess others without limit.
func (b *Bans) Succeed(source netip.Prefix) {
	if !source.IsValid() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	*b.known.touch(source) = b.now()
}

// Known reports whether source sent a valid token within BanRules.Memory.
func (b *Bans) Known(source netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.isKnown(source, b.now())
}

func (b *Bans) isKnown(source netip.Prefix, now time.Time) bool {
	last := b.known.get(source)
	return last != nil && now.Sub(*last) < b.rules.Memory
}
