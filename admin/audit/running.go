package audit

import (
	"context"
	"log/slog"
	"time"
)

// endLimit bounds how long the end of a hub waits for its audit log and its hooks, and its begin
// for the entries of commands before it.
const endLimit = 2 * time.Second

// Running is the Recorder of a hub, while Run runs. Make it with Begin, and close it.
type Running struct {
	*Recorder

	begun bool
	stop  context.CancelFunc
	ended chan struct{}
}

// Begin begins to pass entries on, first those that Keep has kept; a nil Bucket has none.
func Begin(dev string, send Send, kept Bucket, log *slog.Logger) *Running {
	r := &Running{Recorder: NewRecorder(dev, send, log), ended: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	if kept != nil {
		first, cancel := context.WithTimeout(ctx, endLimit)
		if err := r.Drain(first, kept); err != nil {
			log.Warn("what was done with tokens before the start is not in the audit log yet", "err", err)
		}
		cancel()
	}
	go func() {
		defer close(r.ended)
		r.Run(ctx)
	}()
	return r
}

// Started records that clients can connect.
func (r *Running) Started() {
	r.begun = true
	r.Record(Entry{Event: HubStarted})
}

// Close records the hub's end, if it has started, and passes on what is left, for two seconds at
// most.
func (r *Running) Close() {
	if r.begun {
		r.Record(Entry{Event: HubStopped})
	}
	r.stop()
	select {
	case <-r.ended:
	case <-time.After(endLimit):
	}
}
