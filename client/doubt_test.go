package client

import (
	"errors"
	"testing"
	"time"

	"tunnel/client/refusal"
	"tunnel/transport"
)

// How long servers are left alone: a minute after a doubtful refusal, less when the path has
// changed, not at all when there is one that has not refused.
func TestDoubt(t *testing.T) {
	now := time.Now()
	refused := &transport.StepError{Step: transport.StepAuth, Err: errors.New("401"),
		Doubtful: true}
	one, two := new(endpoint), new(endpoint)
	c := &Client{endpoints: []*endpoint{one, two}}
	one.doubt.Note(refused, now)
	if got := c.rest(now); got != 0 {
		t.Errorf("rests %v though another server may be asked", got)
	}
	two.doubt.Note(refused, now.Add(time.Second))
	if got := c.rest(now.Add(2 * time.Second)); got != refusal.Pause-2*time.Second {
		t.Errorf("rests %v", got)
	}
	c.rouse()
	if got := c.rest(now.Add(2 * time.Second)); got != refusal.PauseMoved-2*time.Second {
		t.Errorf("rests %v after a change of the path", got)
	}
	one.doubt.Note(errors.New("another failure"), now)
	if got := c.rest(now.Add(2 * time.Second)); got != 0 {
		t.Errorf("rests %v after another failure", got)
	}

	// A server that is busy is left alone for as long as it says.
	busy := &transport.StepError{Step: transport.StepHTTP,
		Err: &transport.BusyError{Err: errors.New("429"), After: 20 * time.Minute}}
	one.doubt.Note(busy, now)
	two.doubt.Note(busy, now.Add(time.Minute))
	if got := c.rest(now); got != 20*time.Minute {
		t.Errorf("rests %v from busy servers", got)
	}
	c.rouse()
	if got := c.rest(now); got != refusal.PauseMoved {
		t.Errorf("rests %v after a change of the path", got)
	}
	two.doubt.Note(&transport.StepError{Step: transport.StepHTTP,
		Err: &transport.BusyError{Err: errors.New("429")}}, now)
	if got := c.rest(now); got != 0 {
		t.Errorf("rests %v from a server that has not said for how long", got)
	}
}
