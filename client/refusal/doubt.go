// Package refusal judges why a client was not let in: whether another attempt at a server is
// pointless, when the next makes sense, and which of several errors says most.
package refusal

import (
	"errors"
	"time"

	"tunnel/transport"
)

const (
	// Pause is how long a server is not tried after a refusal that may not be its own. If it
	// is, more attempts would end in a ban: ten wrong tokens within a minute.
	Pause = time.Minute
	// PauseMoved is the same pause after the path to the server has changed: whatever refused the
	// token may no longer be on the path.
	PauseMoved = 10 * time.Second
)

// Permanent reports whether another attempt is pointless: the server itself refuses the token.
func Permanent(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Step == transport.StepAuth && !step.Doubtful
}

// Doubtful reports whether the token was refused, but possibly not by the server: a captive portal
// or a proxy may have answered.
func Doubtful(err error) bool {
	var step *transport.StepError
	return errors.As(err, &step) && step.Doubtful
}

// A Doubt says until when a server is not tried: the refusal of the token may not be its own, or it
// asked the client to come back later.
type Doubt struct {
	Err   error
	since time.Time
	Until time.Time // no attempt before that
}

// Note records how an attempt ended.
func (d *Doubt) Note(err error, now time.Time) {
	*d = Doubt{}
	var busy *transport.BusyError
	var closed *transport.CloseError
	switch {
	case Doubtful(err):
		*d = Doubt{err, now, now.Add(Pause)}
	case errors.As(err, &busy) && busy.After > 0:
		*d = Doubt{err, now, now.Add(busy.After)}
	case errors.As(err, &closed):
		if away, ok := closed.AwayFor(); ok { // on any path
			*d = Doubt{err, now.Add(away), now.Add(away)}
		}
	}
}

// Rouse shortens the pause after the path to the server has changed.
func (d *Doubt) Rouse() {
	if soon := d.since.Add(PauseMoved); soon.Before(d.Until) {
		d.Until = soon
	}
}
