package report

import (
	"errors"
	"fmt"
	"testing"

	"tunnel/transport"
)

// What a command of the user is told has no word of the server, whatever it closes with.
func TestWhy(t *testing.T) {
	const hostile = "$(reboot)\n\x1b[2J"
	for want, err := range map[string]error{
		whyReplaced: fmt.Errorf("x: %w", &transport.CloseError{Code: 4002, Reason: hostile}),
		whyAway:     &transport.CloseError{Code: 1001, Reason: hostile},
		whyClosed:   &transport.CloseError{Code: 4999, Reason: hostile, Remote: true},
		whySessions: &transport.CloseError{Code: 4006, Reason: hostile},
		whyAddress:  &transport.CloseError{Code: 4001, Reason: hostile},
		whyToken: &transport.StepError{Step: transport.StepAuth, Err: errors.New(hostile),
			Reason: transport.ReasonTokenOver},
		"tcp":     &transport.StepError{Step: transport.StepTCP, Err: errors.New(hostile)},
		whySilent: fmt.Errorf("x: %w", transport.ErrSilent),
		whyLost:   errors.New(hostile),
	} {
		if got := Why(err); got != want || !IsWhy(got) {
			t.Errorf("%v is %q, not %q", err, got, want)
		}
	}
	if Why(&transport.StepError{Step: hostile, Err: errors.New("x")}) != whyLost || IsWhy(hostile) ||
		IsWhy("") {
		t.Error("another word is one of them")
	}
}
