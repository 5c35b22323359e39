package machine

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/cli/invocation"
	"tunnel/host"
)

// A worker that was broken into puts nothing of its own into the environment of root's command, and
// does not make it fail or be forgotten.
func TestHookForged(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	told := invocationOf(t, "connect", "--on-down", "env >"+out)
	d := &direct{current: invocation.NewCurrent(told), log: slog.New(slog.DiscardHandler)}
	link := host.Pair("tun0", 1400, 100, netip.MustParseAddr("10.1.1.3"),
		netip.MustParseAddr("10.1.1.4"), netip.MustParsePrefix("10.1.1.0/24"))
	if err := d.RunHook(t.Context(), invocation.OnUp, link, nil); err != nil {
		t.Fatal(err)
	}
	good := func() audit.Entry {
		e := audit.Entry{Time: time.Now(), Event: audit.SessionEnded, Reason: "replaced",
			End: audit.EndOf(time.Now(), 5, 6, 0)}
		e.Tidy()
		return e
	}
	for name, change := range map[string]func(*audit.Entry){
		"no event":    func(e *audit.Entry) { e.Event, e.Reason = "", "a\nPATH=/tmp" },
		"other event": func(e *audit.Entry) { e.Event = audit.HubStopped },
		"NUL":         func(e *audit.Entry) { e.Reason = "a\x00b" },
		"words":       func(e *audit.Entry) { e.Reason = "$(reboot)" },
		"long":        func(e *audit.Entry) { e.Reason = strings.Repeat("a", 200<<10) },
		"no end":      func(e *audit.Entry) { e.End = nil },
		"session":     func(e *audit.Entry) { e.Session = 1 },
		"token":       func(e *audit.Entry) { e.Token = "x" },
		"subject":     func(e *audit.Entry) { e.Subject = "x" },
		"zone": func(e *audit.Entry) {
			e.Address = netip.MustParseAddr("fe80::1%$(reboot)")
		},
	} {
		e := good()
		change(&e)
		if err := d.RunHook(t.Context(), invocation.OnDown, link, &e); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	e := good()
	if err := d.RunHook(t.Context(), invocation.OnUp, link, &e); err == nil {
		t.Error("--on-up is told of a past")
	}
	if _, err := os.Stat(out); err == nil || d.down.IsZero() {
		t.Errorf("--on-down ran, or is forgotten: %v", err)
	}
	if err := d.RunHook(t.Context(), invocation.OnDown, link, &e); err != nil || !d.down.IsZero() {
		t.Error(err)
	}
	text, _ := os.ReadFile(out)
	if !strings.Contains(string(text), "\nTUNNEL_REASON=replaced\n") &&
		!strings.HasPrefix(string(text), "TUNNEL_REASON=replaced\n") {
		t.Errorf("%s", text)
	}
}
