package status

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/cli/output"
)

// hostile is text by which a program that was broken into would control a terminal.
const hostile = "\x1b]52;c;cm0=\a\x9b2J\u202e\nclient tun9: connected"

func hostileReport(now time.Time) status.Report {
	counts := map[string]uint64{hostile: 7}
	connections := []status.Connection{{TLS: hostile, Exchange: hostile, Congestion: hostile}}
	return status.Report{Time: now, Clients: []status.Client{{
		Dev: hostile, Version: hostile, Reason: hostile, Server: hostile, Since: now,
		Path:  &status.Path{Interface: hostile, Proxy: hostile},
		Drops: counts, Connections: connections,
		DNS: status.DNS{Servers: []netip.Addr{netip.MustParseAddr("10.1.1.1")},
			Domains: []string{hostile}},
	}, {DNS: status.DNS{Problem: hostile}}}, Hub: &status.Hub{
		Dev: hostile, Version: hostile, Drops: counts, Refused: counts,
		Limits: []status.Limit{{Name: hostile, Used: 9, Most: 10}},
		Peers: []status.Peer{{Name: hostile, Remote: hostile, Drops: counts,
			Connections: connections}},
	}}
}

// What a program says reaches the terminal in printable characters only, and makes no lines.
func TestHostile(t *testing.T) {
	now := time.Now()
	var text bytes.Buffer
	(&page{&text, false}).report(hostileReport(now), status.Report{})
	for _, r := range text.String() {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
			t.Errorf("%q is printed", r)
		}
	}
	if strings.Contains(text.String(), "\nclient tun9") {
		t.Errorf("a name makes a line:\n%s", &text)
	}
	if n := strings.Count(text.String(), "tun9"); n < 20 {
		t.Errorf("only %d of the texts are shown:\n%s", n, &text)
	}

	text.Reset()
	if err := output.WriteJSON(&text, hostileReport(now), false); err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexFunc(text.Bytes(), func(r rune) bool {
		return r < ' ' && r != '\n' || r >= 0x7f
	}); i >= 0 || bytes.Count(text.Bytes(), []byte("\n")) != 1 {
		t.Errorf("the JSON has a character at %d that is not printable ASCII", i)
	}
	var again status.Report
	if err := json.Unmarshal(text.Bytes(), &again); err != nil {
		t.Fatal(err)
	}
	want := strings.ToValidUTF8(hostile, "\ufffd")
	if got := again.Clients[0].Reason; got != want {
		t.Errorf("the JSON has %q, want %q", got, want)
	}
}

// Rates are those between two answers of the same session.
func TestRates(t *testing.T) {
	now := time.Now()
	report := func(at time.Time, bytes uint64) status.Report {
		return status.Report{Time: at, Clients: []status.Client{{Dev: "tun0",
			State: status.Connected, Since: now, Started: now,
			Traffic: status.Traffic{Bytes: status.Bytes{Sent: bytes, Received: bytes / 2}}}},
			Hub: &status.Hub{Peers: []status.Peer{{Address: netip.MustParseAddr("10.1.1.3"), Since: now,
				Bytes: status.Bytes{Sent: bytes, Received: bytes / 2}}}}}
	}
	before, after := report(now, 1e6), report(now.Add(2*time.Second), 3e6)
	show := func(before status.Report, colored bool) string {
		var text bytes.Buffer
		(&page{&text, colored}).report(after, before)
		return text.String()
	}
	if text := show(before, false); strings.Count(text, "8.0 Mbit/s") != 2 ||
		strings.Count(text, "4.0 Mbit/s") != 2 || strings.Contains(text, "\x1b") {
		t.Errorf("printed %s", text)
	}
	other := report(now, 1e6)
	other.Clients[0].Started, other.Hub.Peers[0].Since = now.Add(-1), now.Add(-1)
	for _, none := range []status.Report{{}, other, report(now, 4e6)} {
		if text := show(none, false); strings.Contains(text, "Mbit/s") {
			t.Errorf("a rate of another session: %s", text)
		}
	}
	if text := show(before, true); !strings.Contains(text, "\x1b[32mconnected\x1b[0m") {
		t.Errorf("without a color: %q", text)
	}
}

func TestText(t *testing.T) {
	for got, want := range map[string]string{
		size(0): "0 B", size(1023): "1023 B", size(1 << 10): "1.0 KiB", size(3 << 29): "1.5 GiB",
		size(1<<64 - 1): "16.0 EiB",
		bits(0):         "0 bit/s", bits(125): "1.0 kbit/s", bits(1.25e9): "10.00 Gbit/s",
		milliseconds(0): "-", milliseconds(41.26): "41.3 ms", milliseconds(0.047): "0.05 ms",
		counts(map[string]uint64{"a": 0, "b": 2, "c": 9, "d": 2}): "c 9, b 2, d 2",
		counts(nil): "none",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s",
		90 * time.Second: "1m30s", 3*time.Hour + 2*time.Minute: "3h2m", 50 * time.Hour: "2d2h"} {
		if got := age(now, now.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
