package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"tunnel/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSchema holds docs/AUDIT.md to the JSON of an Entry: every field, with its kind, and every
// event. Programs of others depend on them.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/AUDIT.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| (\\w+) \\|").
		FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	fields := fieldsOf(reflect.TypeFor[Entry](), "")
	for _, f := range fields {
		if !slices.Contains(documented, f) {
			t.Errorf("docs/AUDIT.md lacks %s", f)
		}
	}
	for _, d := range documented {
		if !slices.Contains(fields, d) {
			t.Errorf("docs/AUDIT.md has %s, which nothing writes", d)
		}
	}
	if len(fields) < 30 {
		t.Errorf("found %d fields only", len(fields))
	}
	for _, e := range Events() {
		if !strings.Contains(string(text), "| `"+string(e)+"` |") {
			t.Errorf("docs/AUDIT.md lacks the event %s", e)
		}
	}
}

// fieldsOf returns the fields of a struct as paths in its JSON, with their kinds.
func fieldsOf(of reflect.Type, path string) (all []string) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		name = path + name
		kind := f.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case kind == reflect.TypeFor[time.Time](), kind == reflect.TypeFor[netip.Addr](),
			kind.Kind() == reflect.String:
			all = append(all, name+" string")
		case kind.Kind() == reflect.Struct:
			all = append(append(all, name+" object"), fieldsOf(kind, name+".")...)
		case kind.Kind() == reflect.Map:
			all = append(all, name+" object")
		case kind.Kind() == reflect.Slice:
			all = append(all, name+" array")
		default:
			all = append(all, name+" number")
		}
	}
	return all
}

// What a client sends stays within its text: a line has one entry, which is decoded to what was
// encoded, and nothing that a terminal takes for more than text.
func TestForgery(t *testing.T) {
	for name, hostile := range map[string]string{
		"a line":         "x\n{\"event\":\"token_created\",\"token\":\"evil\"}\n",
		"a quote":        `x","event":"token_created","x":"`,
		"an escape":      "\x1b[2J\x1b]0;title\a",
		"direction":      "a\u202eb\u2066c",
		"separators":     "a\u2028b\u2029c\u0085d",
		"invalid UTF-8":  "a\xff\xfe\xc0\xafb",
		"NUL":            "a\x00b",
		"long":           strings.Repeat("\u00e9", 4096),
		"markup":         "<script>&amp;",
		"a lone quarter": "\xf0\x9f\x98",
	} {
		t.Run(name, func(t *testing.T) {
			e := Entry{Time: time.Now(), Event: Refused, Remote: hostile, Subject: hostile,
				Reason: hostile, Detail: hostile, Token: hostile, TLS: hostile,
				Grant: &Grant{CertCN: hostile, Domains: &[]string{"a", hostile}}}
			only := Entry{Time: e.Time, Event: Refused, Grant: &Grant{Domains: e.Grant.Domains}}
			if only.Time = e.Time.UTC().Round(0); only.Check() == nil && e.Check() != nil {
				t.Error("a grant of a worker that was broken into is taken")
			}
			if e.Check() == nil && name != "a quote" && name != "markup" {
				t.Error("an entry of a worker that was broken into is taken")
			}
			e.Tidy()
			if err := e.Check(); err != nil {
				t.Fatal(err)
			}
			line, err := json.Marshal(e)
			if err != nil || strings.ContainsFunc(string(line), func(r rune) bool {
				return r < ' ' || r == 0x7f
			}) {
				t.Errorf("%q, %v", line, err)
			}
			var again Entry
			if err := json.Unmarshal(line, &again); err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("decoded %+v, %v; want %+v", again, err, e)
			}
			// what the parent demands of a request
			if canonical, _ := json.Marshal(again); string(canonical) != string(line) {
				t.Errorf("encoded again:\n%s\n%s", canonical, line)
			}
			if again.Event != Refused || len(again.Reason) > maxText {
				t.Errorf("%+v", again)
			}
		})
	}
}

// collected is a Send, which fails while it has an error.
type collected struct {
	mu  sync.Mutex
	all []Entry
	err error
}

func (c *collected) send(_ context.Context, entries []Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if len(entries) > MaxBatch {
		return fmt.Errorf("%d entries at once", len(entries))
	}
	c.all = append(c.all, entries...)
	return nil
}

func (c *collected) count(event Event) (n int, lost uint64, omitted map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	omitted = map[string]uint64{}
	for _, e := range c.all {
		if e.Event == event {
			n++
		}
		lost += e.Lost
		for reason, left := range e.Omitted {
			omitted[reason] += left
		}
	}
	return n, lost, omitted
}

// runTo records by f, and returns when all is passed on.
func runTo(t *testing.T, c *collected, f func(*Recorder)) *Recorder {
	t.Helper()
	r := NewRecorder("tun0", c.send, slog.New(slog.DiscardHandler))
	f(r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx)
	return r
}

// Of a flood of refused logins there are a few entries, and how many were left out; each of another
// event stays.
func TestRefusedFlood(t *testing.T) {
	const flood, others = 100_000, 50
	var c collected
	runTo(t, &c, func(r *Recorder) {
		for i := range flood {
			r.Record(Entry{Event: Refused, Reason: "token", Remote: fmt.Sprintf("198.51.%d.%d:80",
				i/256%256, i%256)})
			if i%(flood/others) == 0 {
				r.Record(Entry{Event: SessionStarted, Session: 1})
			}
		}
	})
	n, _, omitted := c.count(Refused)
	if n < refusedBurst || n > refusedBurst+2 || uint64(n)+omitted["token"] != flood {
		t.Errorf("%d entries, %d left out", n, omitted["token"])
	}
	if n, _, _ := c.count(SessionStarted); n != others {
		t.Errorf("%d of %d other entries", n, others)
	}
}

// One address cannot use up the entries of others.
func TestRefusedFromOne(t *testing.T) {
	var c collected
	runTo(t, &c, func(r *Recorder) {
		for range 1000 {
			r.Record(Entry{Event: Refused, Reason: "token", Remote: "[2001:db8::1]:5"})
			r.Record(Entry{Event: Refused, Reason: "token", Remote: "[2001:db8::2]:6"}) // the same /64
		}
		r.Record(Entry{Event: Refused, Reason: "banned", Remote: "198.51.100.7:80"})
	})
	if n, _, omitted := c.count(Refused); n != oneRefusedBurst+1 ||
		omitted["token"] != 2000-oneRefusedBurst || omitted["banned"] != 0 {
		t.Errorf("%d entries, left out %v", n, omitted)
	}
}

// After as many addresses as an attacker likes the memory is bounded, and so are the entries.
func TestManySources(t *testing.T) {
	var l limits
	now := time.Now()
	taken := 0
	for i := range 3 * maxSources {
		if l.take(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now) {
			taken++
		}
	}
	if taken != refusedBurst || len(l.sources) > maxSources {
		t.Errorf("%d taken, %d sources", taken, len(l.sources))
	}
	l.all = rate.NewLimiter(rate.Inf, 1)
	if !l.take("no address", now) || SourceOf("no address").IsValid() {
		t.Error("what has no address is not counted")
	}
}

// Entries that are not taken are counted, and the next that are say how many.
func TestLost(t *testing.T) {
	c := collected{err: errors.New("full")}
	r := runTo(t, &c, func(r *Recorder) {
		for range 10 {
			r.Record(Entry{Event: Kicked})
		}
	})
	c.err = nil
	for range maxQueue + 5 {
		r.Record(Entry{Event: Kicked})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.Run(ctx)
	n, lost, _ := c.count(Kicked)
	if n != maxQueue || lost != 15 {
		t.Errorf("%d entries, %d lost", n, lost)
	}
}

// A Send that does not return holds up no Record, and what there is no room for is counted.
func TestStuck(t *testing.T) {
	release := make(chan struct{})
	var c collected
	r := NewRecorder("tun0", func(ctx context.Context, all []Entry) error {
		<-release
		return c.send(ctx, all)
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { r.Run(ctx) })
	for range 3 * maxQueue {
		r.Record(Entry{Event: SessionStarted})
	}
	if n := len(r.Tail(maxRecent + 1)); n != maxRecent {
		t.Errorf("the tail has %d", n)
	}
	cancel()
	close(release)
	group.Wait()
	if n, lost, _ := c.count(SessionStarted); n < maxQueue || uint64(n)+lost != 3*maxQueue {
		t.Errorf("%d entries, %d lost", n, lost)
	}
}

func TestTail(t *testing.T) {
	r := NewRecorder("tun0", nil, slog.New(slog.DiscardHandler))
	if got := r.Tail(3); len(got) != 0 {
		t.Error(got)
	}
	for i := range maxRecent + 10 {
		r.Record(Entry{Event: SessionStarted, Session: uint64(i)})
	}
	got := r.Tail(3)
	if len(got) != 3 || got[0].Session != maxRecent+7 || got[2].Session != maxRecent+9 ||
		got[2].Dev != "tun0" || got[2].Time.IsZero() {
		t.Errorf("%+v", got)
	}
	if all := r.Tail(2 * maxRecent); len(all) != maxRecent || all[0].Session != 10 {
		t.Errorf("%d, from %d on", len(all), all[0].Session)
	}
	if r.Tail(-1); len(r.Tail(-1)) != 0 {
		t.Error("a tail of less than none")
	}
	(*Recorder)(nil).Record(Entry{})
	if (*Recorder)(nil).Tail(1) != nil {
		t.Error("a nil Recorder has entries")
	}
}

// An address can have any text as its zone, and has none in the log.
func TestZone(t *testing.T) {
	zoned := netip.MustParseAddr("fe80::1%\x1b[2J")
	for name, e := range map[string]Entry{
		"its own":   {Address: zoned},
		"a grant's": {Grant: &Grant{Address: zoned}},
		"DNS":       {Grant: &Grant{DNS: &[]netip.Addr{zoned}}},
	} {
		e.Time, e.Event = time.Now().UTC().Round(0), Kicked
		if e.Check() == nil {
			t.Errorf("%s is taken", name)
		}
		if e.Tidy(); e.Check() != nil {
			t.Errorf("%s is not tidied: %v", name, e.Check())
		}
	}
}

// Tidy changes no list of the token that an entry is about.
func TestTidyCopies(t *testing.T) {
	of := auth.Token{Name: "a", Domains: []string{"a\nb"}}
	e := OfToken(TokenCreated, of)
	if e.Tidy(); of.Domains[0] != "a\nb" || (*e.Grant.Domains)[0] != "a?b" {
		t.Errorf("%q, %q", of.Domains, *e.Grant.Domains)
	}
}
