package observe

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"

	"tunnel/admin/status"
)

// A line has what was added since the last, and there is none when nothing was.
func TestReport(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	now := func(source, full, token uint64) counts {
		return counts{"drops": {"source": source, "queue_full": full}, "refused": {"token": token}}
	}
	before := now(5, 0, 2) // from before the first line
	for _, step := range []struct {
		now  counts
		want string
	}{
		{now(5, 0, 2), ""},
		{now(7, 1, 2), `level=INFO msg="dropped or refused lately" drops.queue_full=1 drops.source=2 ` +
			"within=5m0s\n"},
		{now(7, 1, 2), ""},
		{now(7, 1, 5), `level=INFO msg="dropped or refused lately" refused.token=3 within=5m0s` + "\n"},
	} {
		text.Reset()
		if before = before.note(step.now, log); text.String() != step.want {
			t.Errorf("logged %q, want %q", text.String(), step.want)
		}
	}
}

// A client is ready while it has a session; if not, the line has nothing of the other side.
func TestReady(t *testing.T) {
	for want, c := range map[string]status.Client{
		"":                                       {State: status.Connected, Reason: "old"},
		"not connected yet: see `tunnel status`": {State: status.Connecting},
		"not connected: see `tunnel status`":     {State: status.Connecting, Reason: "\x1b[2J"},
	} {
		got := ""
		if err := public(c.Ready)(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
}

// A hub is ready while its clients can be reached; if not, the line has nothing of the other side.
func TestHubReady(t *testing.T) {
	if err := public(hubReady(func() error { return nil }))(); err != nil {
		t.Error(err)
	}
	err := public(hubReady(func() error { return errors.New("\x1b[2J") }))()
	if err == nil || err.Error() != "clients cannot be reached: see `tunnel status`" {
		t.Error(err)
	}
}

// Of what is the matter everybody learns the step, without addresses and the other side's words.
func TestPublic(t *testing.T) {
	for why, want := range map[string]string{
		"not connected yet": "not connected yet: see `tunnel status`",
		"not connected: http: wss://198.51.100.1/ws answered 403 SECRET": "not connected: http: see " +
			"`tunnel status`",
		"not connected: SECRET of 10.1.1.3": "not connected: see `tunnel status`",
		"clients cannot be reached: packets to 10.1.1.0/24 leave by eth0": "clients cannot be reached: " +
			"see `tunnel status`",
		"10.1.1.3": "not ready: see `tunnel status`",
	} {
		if got := public(func() error { return errors.New(why) })(); got == nil || got.Error() != want {
			t.Errorf("%q: %v, want %q", why, got, want)
		}
	}
	if err := public(func() error { return nil })(); err != nil {
		t.Error(err)
	}
}
