package spool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tunnel/spool"
)

// TestRelayWhole has pieces of lines come out as whole lines, with those of this process between
// them and never within.
func TestRelayWhole(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.Detach()
	relay := w.Relay()
	for _, piece := range []string{"a", "b\nc", "", "d\n\ne\nf"} {
		if n, err := relay.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Error(n, err)
		}
		_, _ = w.Write([]byte("own\n"))
	}
	relay.Flush()
	relay.Flush()
	w.Close(time.Now().Add(time.Minute))
	if got := r.String(); got != "own\nab\nown\nown\ncd\n\ne\nown\nf" {
		t.Errorf("got %q", got)
	}
}

// TestRelayHarmless is what a process that was taken over may write to have a terminal type, hide
// or turn something.
func TestRelayHarmless(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.Detach()
	relay := w.Relay()
	_, _ = relay.Write([]byte("a\tb é\x1b[6n\x07\r\x00\x7f \u009b5n \u202e \x9b \xff\n"))
	w.Close(time.Now().Add(time.Minute))
	const want = "a\tb é" + `\x1b[6n\a\r\x00\x7f \u009b5n \u202e \x9b \xff` + "\n"
	if got := r.String(); got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}

// TestRelayEndless is a line that does not end: it is not held back for ever.
func TestRelayEndless(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.Detach()
	relay := w.Relay()
	for range 1000 {
		_, _ = relay.Write([]byte(strings.Repeat("x", 1000)))
	}
	w.Close(time.Now().Add(time.Minute))
	if n := len(r.String()); n < 900_000 {
		t.Errorf("got %d bytes", n)
	}
}

// TestRelaySlow has a reader that is slower than what comes, many times what may wait: all of it
// comes, as the text of a crash has to.
func TestRelaySlow(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.Detach()
	relay := w.Relay()
	r.pause = 10 * time.Microsecond
	var want strings.Builder
	for i := range 50 {
		_, _ = fmt.Fprintf(relay, "piece %d\n", i)
		piece := strings.Repeat(strings.Repeat("y", 1000)+"\n", 50)
		_, _ = relay.Write([]byte(piece))
		fmt.Fprintf(&want, "piece %d\n%s", i, piece)
	}
	w.Close(time.Now().Add(time.Minute))
	if r.String() != want.String() {
		t.Errorf("got %d bytes of %d", len(r.String()), want.Len())
	}
}

// TestRelayStalled has a reader that has stopped: the relay waits once, for seconds, and not for
// each line; with Hasten it does not wait.
func TestRelayStalled(t *testing.T) {
	for _, hasten := range []bool{false, true} {
		r := newReader()
		w := spool.New(r)
		w.Detach()
		if hasten {
			w.Hasten()
		}
		relay := w.Relay()
		r.gate.Lock()
		begin := time.Now()
		for i := range 10000 { // with a pause for each it would take minutes, or hours
			_, _ = fmt.Fprintf(relay, "line %d %1000d\n", i, 0)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("hasten %v: took %v", hasten, took)
		}
		r.gate.Unlock()
		// Close gives up on a write that has taken long, as this one has until now
		for r.String() == "" {
			time.Sleep(time.Millisecond)
		}
		w.Close(time.Now().Add(time.Minute))
		if got := r.String(); !strings.Contains(got, "dropped ") || !strings.Contains(got,
			"line 9999 ") {
			t.Errorf("hasten %v: got %.200q", hasten, got)
		}
	}
}
