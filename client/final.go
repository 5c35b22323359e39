package client

import (
	"errors"
	"time"

	"tunnel/transport"
)

const (
	// doubtPause is how long a server is not tried after a refusal that may not be its own. If it
	// is, more attempts would end in a ban: ten wrong tokens within a minute.
	doubtPause = time.Minute
	// doubtMoved is the same pause after the path to the server has changed: whatever refused the
	// token may no longer be on the path.
	doubtMoved = 10 * time.Second
)

// permanent reports whether another attempt is pointless: the server itself refuses the token.
func permanent(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Step == transport.StepAuth && !step.Doubtful
}

// doubtful reports whether the token was refused, but possibly not by the server: a captive portal
// or a proxy may have answered.
func doubtful(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Doubtful
}

// A doubt says until when a server is not tried: the refusal of the token may not be its own, or it
// asked the client to come back later.
type doubt struct {
	err   error
	since time.Time
	until time.Time // no attempt before that
}

// note records how an attempt ended.
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

// rest returns how long to wait until the first server may be tried again.
func (c *Client) rest(now time.Time) time.Duration {
	var least time.Duration
	for i, t := range c.endpoints {
		if left := t.doubt.until.Sub(now); i == 0 || left < least {
			least = left
		}
	}
	return max(least, 0)
}

// rouse shortens the wait for all servers after the path to them has changed.
func (c *Client) rouse() {
	for _, t := range c.endpoints {
		if soon := t.doubt.since.Add(doubtMoved); soon.Before(t.doubt.until) {
			t.doubt.until = soon
		}
	}
}
