package refusal

import (
	"errors"
	"testing"

	"tunnel/transport"
)

// What is said of several servers that were not joined, and of one on several ports.
func TestRefusals(t *testing.T) {
	at := func(step transport.Step) error {
		return &transport.StepError{Step: step, Err: errors.New(string(step))}
	}
	tcp, http, auth := at(transport.StepTCP), at(transport.StepHTTP), at(transport.StepAuth)
	type asked struct {
		server int
		err    error
	}
	for name, test := range map[string]struct {
		asked []asked
		want  error
	}{
		"one":                                   {[]asked{{1, tcp}}, tcp},
		"the first of two":                      {[]asked{{1, tcp}, {2, http}}, tcp},
		"one that may still come":               {[]asked{{1, auth}, {2, tcp}}, tcp},
		"two that refuse":                       {[]asked{{1, auth}, {2, auth}}, auth},
		"a port that got further":               {[]asked{{1, tcp}, {1, http}}, http},
		"a port that got further before":        {[]asked{{1, http}, {1, tcp}}, http},
		"a port that refuses, one that is shut": {[]asked{{1, tcp}, {1, auth}}, auth},
		"and the other way round":               {[]asked{{1, auth}, {1, tcp}}, auth},
		"a refusal, and another server":         {[]asked{{1, tcp}, {1, auth}, {2, tcp}}, tcp},
	} {
		var v Refusals
		for _, a := range test.asked {
			v.Note(a.server, a.err)
		}
		if got := v.First(); !errors.Is(got, test.want) {
			t.Errorf("%s: %v; want %v", name, got, test.want)
		}
	}
}
