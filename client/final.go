package client

import (
	"errors"
	"time"

	"tunnel/transport"
)

const (
	// doubtPause is how long a server is left alone whose token was refused by something that may not be the server: if it
	// is the server after all, ten wrong tokens in a minute are a ban.
	doubtPause = time.Minute
	// doubtMoved is the same when the path to the server has changed meanwhile: what has refused may be gone with it.
	doubtMoved = 10 * time.Second
)

// hopeless reports whether another attempt cannot end in another way: the server itself refuses the token.
func hopeless(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Step == transport.StepAuth && !step.Doubtful
}

// doubtful reports whether the token was refused, but perhaps not by the server: a login page of the network may have
// answered, or a proxy in front.
func doubtful(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Doubtful
}

// A doubt is a refusal of the token that may not be the server's own.
type doubt struct {
	err   error
	since time.Time
	until time.Time // no attempt before that
}

// note takes note of how an attempt has ended.
func (d *doubt) note(err error, now time.Time) {
	*d = doubt{}
	if doubtful(err) {
		*d = doubt{err, now, now.Add(doubtPause)}
	}
}

// rest returns how long to wait for the first server that may be asked again.
func (c *Client) rest(now time.Time) time.Duration {
	least := doubtPause
	for _, t := range c.targets {
		least = min(least, t.doubt.until.Sub(now))
	}
	return max(least, 0)
}

// rouse shortens the wait for all servers: the path to them has changed.
func (c *Client) rouse() {
	for _, t := range c.targets {
		if soon := t.doubt.since.Add(doubtMoved); soon.Before(t.doubt.until) {
			t.doubt.until = soon
		}
	}
}
