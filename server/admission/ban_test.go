package admission

import (
	"net/netip"
	"testing"
	"time"
)

// clock is a time that the test moves.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func newClock() *clock { return &clock{time.Unix(1_800_000_000, 0)} }

func newTestBans() (*Bans, *clock) {
	c := newClock()
	return NewBans(DefaultBanRules(), func() time.Time { return c.now }), c
}

func from(text string) netip.Prefix { return SourceOf(netip.MustParseAddr(text)) }

// fails fails n times; the last failure, and none before, must cause the ban.
func fails(t *testing.T, b *Bans, source netip.Prefix, n int, live bool, want time.Duration) {
	t.Helper()
	for i := 1; i <= n; i++ {
		got := b.Fail(source, live)
		if i < n && got != 0 {
			t.Fatalf("failure %d of %d: banned for %v", i, n, got)
		}
		if i == n && got != want {
			t.Fatalf("failure %d of %d: banned for %v; want %v", i, n, got, want)
		}
	}
	if got := b.Left(source); got != want {
		t.Fatalf("after %d failures %v are left; want %v", n, got, want)
	}
}

// Ten failures in a minute are a ban; each is twice as long as the last, up to a quarter of an
// hour, and ends.
func TestBanDoubles(t *testing.T) {
	b, c := newTestBans()
	source := from("192.0.2.1")
	for _, minutes := range []time.Duration{1, 2, 4, 8, 15, 15} {
		fails(t, b, source, 10, false, minutes*time.Minute)
		if left := b.Left(from("192.0.2.2")); left != 0 {
			t.Errorf("the neighbour is banned for %v", left)
		}
		c.pass(minutes*time.Minute - time.Second)
		if left := b.Left(source); left != time.Second {
			t.Errorf("%v are left; want 1s", left)
		}
		c.pass(time.Second)
		if left := b.Left(source); left != 0 {
			t.Errorf("%v are left; want none", left)
		}
	}
	c.pass(time.Hour)
	fails(t, b, source, 10, false, time.Minute) // an hour later all is forgotten
}

// Fewer than ten failures a minute cause no ban.
func TestSlowFailures(t *testing.T) {
	b, c := newTestBans()
	for i := range 1000 {
		if i%9 == 0 {
			c.pass(time.Minute)
		}
		if ban := b.Fail(from("192.0.2.1"), false); ban != 0 {
			t.Fatalf("failure %d: banned for %v", i, ban)
		}
	}
}

// A source that sent a valid token, or has a session, is banned after many more failures, and never
// for longer than a minute.
func TestKnownSource(t *testing.T) {
	b, c := newTestBans()
	source := from("192.0.2.1")
	for range 3 {
		fails(t, b, source, 100, true, time.Minute)
		c.pass(time.Minute)
	}
	b.Succeed(source)
	c.pass(59 * time.Minute)
	fails(t, b, source, 100, false, time.Minute)
	c.pass(time.Minute) // the valid token is forgotten
	fails(t, b, source, 10, false, 2*time.Minute)
	// A valid token undoes no failure.
	other := from("192.0.2.9")
	for range 99 {
		b.Succeed(other)
		if ban := b.Fail(other, false); ban != 0 {
			t.Fatalf("banned for %v", ban)
		}
	}
	b.Succeed(other)
	if ban := b.Fail(other, false); ban != time.Minute {
		t.Errorf("banned for %v", ban)
	}
}

// No more sources are remembered than the rules say, and those that failed last.
func TestBansAreBounded(t *testing.T) {
	rules := DefaultBanRules()
	rules.Sources = 100
	b := NewBans(rules, time.Now)
	for i := range 5000 {
		a := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		b.Succeed(SourceOf(a))
		for range 10 {
			b.Fail(SourceOf(a), false)
		}
	}
	for name, n := range map[string]int{
		"failed": len(b.failed.values), "their order": b.failed.order.Len(),
		"known": len(b.known.values), "its order": b.known.order.Len(),
	} {
		if n != 100 {
			t.Errorf("%s: %d are remembered", name, n)
		}
	}
	if f := b.failed.get(from("198.51.19.135")); f == nil || f.count != 10 {
		t.Errorf("the last is remembered as %+v", f)
	}
	if f := b.failed.get(from("198.51.0.1")); f != nil {
		t.Errorf("the first is remembered as %+v", f)
	}
}

// Loopback addresses, from which a proxy may connect for all clients, are never banned.
func TestOwnMachineIsNeverBanned(t *testing.T) {
	b, _ := newTestBans()
	for range 1000 {
		if ban := b.Fail(from("127.0.0.1"), false); ban != 0 {
			t.Fatalf("banned for %v", ban)
		}
	}
	b.Succeed(from("::1"))
	if len(b.failed.values)+len(b.known.values) != 0 {
		t.Error("something is remembered")
	}
}
