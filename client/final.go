package client

import (
	"errors"
	"time"

	"tunnel/transport"
)

const (
	// doubtPause is how long a server is left alone whose token was refused by something that may
	// not be the server: if it is the server after all, ten wrong tokens in a minute are a ban.
	doubtPause = time.Minute
	// doubtMoved is the same when the path to the server has changed meanwhile: what has refused
	// may be gone with it, and the server may have sent away the address that this machine had.
	doubtMoved = 10 * time.Second
)

// permanent reports whether another attempt cannot end otherwise: the server itself refuses the
// token.
func permanent(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Step == transport.StepAuth && !step.Doubtful
}

// doubtful reports whether the token was refused, but perhaps not by the server: a login page of
// the network may have answered, or a proxy in front.
func doubtful(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Doubtful
}

// A doubt is why a server is left alone: its refusal of the token may not be its own, or it wants
// us to come back later.
type doubt struct {
	err   error
	since time.Time
	until time.Time // no attempt before that
}

// note takes note of how an attempt has ended.
func (d *doubt) note(err error, now time.Time) {
	*d = doubt{}
	var busy *transport.BusyError
	switch {
	case doubtful(err):
		*d = doubt{err, now, now.Add(doubtPause)}
	case errors.As(err, &busy) && busy.After > 0:
		*d = doubt{err, now, now.Add(busy.After)}
	}
}

// rest returns how long to wait for the first server that may be asked again.
func (c *Client) rest(now time.Time) time.Duration {
	var least time.Duration
	for i, t := range c.endpoints {
		if left := t.doubt.until.Sub(now); i == 0 || left < least {
			least = left
		}
	}
	return max(least, 0)
}

// rouse shortens the wait for all servers: the path to them has changed.
func (c *Client) rouse() {
	for _, t := range c.endpoints {
		if soon := t.doubt.since.Add(doubtMoved); soon.Before(t.doubt.until) {
			t.doubt.until = soon
		}
	}
}
