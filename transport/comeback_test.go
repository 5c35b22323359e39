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
