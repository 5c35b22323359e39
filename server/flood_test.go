package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/transport"
)

// refusals stops the hub and returns how often it refused, by reason.
func (h *hub) refusals() map[string]int {
	h.t.Helper()
	if err := h.Stop(); err != nil {
		h.t.Error(err)
	}
	for line := range bytes.Lines(h.Log.Text()) {
		var entry struct {
			Msg     string
			Refused map[string]int
		}
		if err := json.Unmarshal(line, &entry); err == nil && entry.Msg == "stopped" {
			return entry.Refused
		}
	}
	h.t.Fatal("no line about the stop")
	return nil
}

// Unauthenticated clients do not fill the log, however often they come, and each is counted.
func TestLogIsNotFlooded(t *testing.T) {
	h := serve(t, "10.1.1.0/24", behindProxy)
	const n = 300
	for i := range n {
		h.status(wrong + forwarded(fmt.Sprintf("192.0.2.%d", i%30)))
	}
	began := time.Now()
	for range 50 {
		h.status("GET / HTTP/1.1\nHost: h\n")
		h.status("no HTTP at all\n")
		// with a token
		h.status(right + "Origin: https://evil.example\n" + forwarded("198.51.100.1"))
	}
	// it counts a moment after its answer
	for late := began.Add(patience); h.Server.Connections() > 0 && time.Now().Before(late); {
		time.Sleep(time.Millisecond)
	}
	counted := h.refusals()
	if counted["token"] != n || counted["not_found"] != 2*50 || counted["no_request"] != 50 {
		t.Errorf("counted %v", counted)
	}
	// Unauthenticated clients have 20 lines at once.
	if n, most := bytes.Count(h.Log.Text(),
		[]byte("\n")), 20+10+int(time.Since(began)/time.Second); n > most {
		t.Errorf("%d lines of log; want at most %d\n%s", n, most, h.Log.Text())
	}
}

// A token that logs in and out without end writes no more log than a hundred lines of each kind,
// then one in 5 s; another client's lines stand beside them, and what was left out is counted.
func TestLoginsDoNotFloodLog(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	_, quiet, err := h.Server.CreateToken(auth.Spec{Name: "quiet"})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const n = 400
	for range n {
		h.join(transport.Connect{Session: "one machine"}).leave()
	}
	m, err := h.dialWith(quiet, transport.Connect{})
	if err != nil {
		t.Fatal(err)
	}
	m.leave()
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	lines, counted, others := map[string]int{}, map[string]uint64{}, map[string]int{}
	for text := range bytes.Lines(h.Log.Text()) {
		var line struct {
			Msg, Of, Token string
			Suppressed     uint64
		}
		if err := json.Unmarshal(text, &line); err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Token == "quiet":
			others[line.Msg]++
		case line.Of != "":
			counted[line.Of] += line.Suppressed
		default:
			lines[line.Msg]++
			counted[line.Msg] += line.Suppressed
		}
	}
	most := 101 + int(time.Since(began)/(5*time.Second))
	for _, msg := range []string{"connected", "disconnected"} {
		if lines[msg] > most || lines[msg]+int(counted[msg]) != n || others[msg] != 1 {
			t.Errorf("%s: %d lines, of at most %d, and %d counted of %d; of the other client %d",
				msg, lines[msg], most, counted[msg], n, others[msg])
		}
	}
}
