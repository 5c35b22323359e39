package record

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keeper(t *testing.T, told *config.Serve) *Keeper {
	t.Helper()
	k, err := New(told, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.End)
	return k
}

func session(event audit.Event) audit.Entry {
	e := audit.Entry{Time: time.Now(), Event: event, Token: "office", Session: 1,
		Address: netip.MustParseAddr("10.1.1.3"), Remote: "198.51.100.2:5"}
	if event == audit.SessionEnded {
		e.End = audit.EndOf(time.Now(), 5, 6, 0)
	}
	e.Tidy()
	return e
}

// A worker that was broken into cannot have hooks run, or lines written, about what no hub has.
func TestForged(t *testing.T) {
	dir := t.TempDir()
	told := config.DefaultServe()
	told.AuditLog, told.OnConnect = filepath.Join(dir, "log"), "echo >>"+filepath.Join(dir, "ran")
	k := keeper(t, told)
	for name, change := range map[string]func(*audit.Entry){
		"a name":     func(e *audit.Entry) { e.Token = "$(id)" },
		"an address": func(e *audit.Entry) { e.Address = netip.MustParseAddr("192.0.2.1") },
		"no address": func(e *audit.Entry) { e.Address = netip.Addr{} },
		"no number":  func(e *audit.Entry) { e.Session = 0 },
		"a zone":     func(e *audit.Entry) { e.Address = netip.MustParseAddr("fe80::1%\x1b[2J") },
		"a grant":    func(e *audit.Entry) { e.Grant = &audit.Grant{CertCN: "a\u202eb"} },
		"a text":     func(e *audit.Entry) { e.Remote = "a\nb" },
		"no end":     func(e *audit.Entry) { e.Event, e.End = audit.SessionEnded, nil },
	} {
		e := session(audit.SessionStarted)
		change(&e)
		if err := k.Write([]audit.Entry{e}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.End()
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a hook ran")
	}
	if text, _ := os.ReadFile(told.AuditLog); len(text) > 0 {
		t.Errorf("%s", text)
	}
}

// --on-up runs once, while the hub does, --on-down once, also if the hub does not say that it ends;
// without a start neither.
func TestUpAndDown(t *testing.T) {
	for name, test := range map[string]struct {
		events []audit.Event
		want   string
	}{
		"told":    {[]audit.Event{audit.HubStarted, audit.HubStopped}, "up\ndown\n"},
		"crashed": {[]audit.Event{audit.HubStarted, audit.HubStarted}, "up\ndown\n"},
		"never":   {[]audit.Event{audit.HubStopped}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			told := config.DefaultServe()
			told.OnUp, told.OnDown = "echo up >>"+out+"; sleep 3600", "echo down >>"+out
			k := keeper(t, told)
			for _, event := range test.events {
				if event == audit.HubStopped && len(test.events) > 1 {
					awaitText(t, out, "up\n")
				}
				if err := k.Write([]audit.Entry{{Time: time.Now(), Event: event}}); err != nil {
					t.Fatal(err)
				}
			}
			if test.want != "" {
				awaitText(t, out, "up\n")
			}
			k.End()
			k.End()
			if text, _ := os.ReadFile(out); string(text) != test.want {
				t.Errorf("%q; want %q", text, test.want)
			}
		})
	}
}

func awaitText(t *testing.T, file, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(file)
		if strings.HasPrefix(string(text), want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q", text)
		}
	}
}

// A log that cannot be opened is one line that says what to do, and nothing of a hub that wants
// none.
func TestNew(t *testing.T) {
	told := config.DefaultServe()
	if k, err := New(told, nil); k != nil || err != nil {
		t.Error(k, err)
	}
	(*Keeper)(nil).End()
	if err := (*Keeper)(nil).Write(nil); err != nil {
		t.Error(err)
	}
	told.AuditLog = filepath.Join(t.TempDir(), "none", "log")
	_, err := New(told, slog.New(slog.DiscardHandler))
	f := failure.Of(err)
	if err == nil || f.Step != failure.StepState || !strings.Contains(f.Err.Error(), "no such file") ||
		!strings.Contains(f.Advice, "make its directory") {
		t.Errorf("%v: %+v", err, f)
	}
}

// An entry that no hub makes takes none of its batch with it, and is counted; a kick of a client
// whose name is that of an address elsewhere is none.
func TestOneForged(t *testing.T) {
	told := config.DefaultServe()
	told.AuditLog = filepath.Join(t.TempDir(), "log")
	k := keeper(t, told)
	forged, kick := session(audit.SessionStarted), session(audit.Kicked)
	forged.Session = 0
	kick.Address = netip.MustParseAddr("192.0.2.1")
	if err := k.Write([]audit.Entry{forged, session(audit.SessionStarted), kick}); err != nil {
		t.Fatal(err)
	}
	k.End()
	text, _ := os.ReadFile(told.AuditLog)
	for _, want := range []string{`"event":"entries_lost"`, `"event":"session_started"`,
		`"event":"kicked"`, `"lost":1}`} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("lacks %s:\n%s", want, text)
		}
	}
}

// A client that comes and goes does not push the history out of the files: others have their lines,
// and what is left out is counted. Its hooks are not left out.
func TestSessionLines(t *testing.T) {
	l := newSessionLimits()
	now := time.Now()
	kept, omitted := 0, uint64(0)
	count := func(entries []audit.Entry) {
		for _, e := range entries {
			if e.Event == audit.SessionsOmitted {
				omitted += e.Omitted["office"]
				continue
			}
			kept++
		}
	}
	const flood = 10_000
	for range flood {
		count(l.take([]audit.Entry{session(audit.SessionStarted)}, now))
	}
	if kept != sourceBurst {
		t.Errorf("%d lines of one address", kept)
	}
	other := session(audit.SessionStarted)
	other.Token = "phone"
	if got := l.take([]audit.Entry{other, {Event: audit.Kicked}}, now); len(got) != 2 {
		t.Errorf("others have %+v", got)
	}
	for i := range flood { // from as many addresses as it likes
		e := session(audit.SessionStarted)
		e.Remote = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).String()
		count(l.take([]audit.Entry{e}, now))
	}
	if kept != tokenBurst || len(l.sources) > maxLimits {
		t.Errorf("%d lines of one token, %d addresses", kept, len(l.sources))
	}
	count(l.take([]audit.Entry{{Event: audit.HubStopped}}, now))
	if kept--; omitted != 2*flood-tokenBurst {
		t.Errorf("%d are said to be left out", omitted)
	}
}

// --on-down follows the hub's end wherever that is in a batch.
func TestStopWithin(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	told := config.DefaultServe()
	told.OnUp, told.OnDown = "true", "echo down >>"+out
	k := keeper(t, told)
	at := time.Now()
	if err := k.Write([]audit.Entry{{Time: at, Event: audit.HubStarted},
		{Time: at, Event: audit.HubStopped}, {Time: at, Event: audit.Kicked}}); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(out); string(text) != "down\n" {
		t.Errorf("%q", text)
	}
}
