package transport_test

import (
	"testing"
	"time"

	"tunnel/transport"
)

// ComeBackIn returns the time of ComeBack, and none for any other reason.
func TestComeBack(t *testing.T) {
	told := *transport.ComeBack(1734 * time.Millisecond)
	if told.Code != 1012 || told.Reason != "the server stops: come back in 1.734 s" {
		t.Errorf("told %+v", told)
	}
	if _, ok := told.ComeBackIn(); ok {
		t.Error("what this side says is no word of the server's")
	}
	for reason, want := range map[string]time.Duration{
		told.Reason:                       1734 * time.Millisecond,
		transport.ComeBack(0).Reason:      0,
		"come back in 60 s":               time.Minute,
		"0.5 s":                           500 * time.Millisecond,
		"maintenance, come back in 3e1 s": 30 * time.Second,
		"":                                -1,
		"the server stops":                -1,
		"come back in 2":                  -1,
		"come back in -2 s":               -1,
		"come back in NaN s":              -1,
		"come back in +Inf s":             -1,
		"come back in 61 s":               -1,
		"come back in  s":                 -1,
	} {
		closed := transport.CloseError{Code: transport.CodeRestart, Reason: reason, Remote: true}
		got, ok := closed.ComeBackIn()
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q is heard as %v, %v; want %v", reason, got, ok, want)
		}
		closed.Code = transport.CodeGoingAway
		if _, ok := closed.ComeBackIn(); ok {
			t.Errorf("%q with code 1001 is heard", reason)
		}
	}
}

// AwayFor returns the times that ComeBackIn does not, up to a day.
func TestAwayFor(t *testing.T) {
	for after, want := range map[time.Duration]bool{
		0: false, time.Minute: false, time.Minute + time.Millisecond: true, 10 * time.Minute: true,
		24 * time.Hour: true, 24*time.Hour + time.Millisecond: false,
	} {
		closed := transport.Kick(after)
		if _, ok := closed.AwayFor(); ok || closed.Code != 1012 || len(closed.Reason) > 123 {
			t.Errorf("told %+v, which is heard: %v", closed, ok)
		}
		closed.Remote = true
		if got, ok := closed.AwayFor(); ok != want || ok && got != after {
			t.Errorf("%q is heard as %v, %v", closed.Reason, got, ok)
		}
		if _, ok := closed.ComeBackIn(); ok != (after <= time.Minute) {
			t.Errorf("%q is heard as a restart: %v", closed.Reason, ok)
		}
	}
}
