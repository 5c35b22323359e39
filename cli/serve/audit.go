package serve

import (
	"context"
	"log/slog"
	"time"

	"tunnel/admin/audit"
	"tunnel/cli/machine"
	"tunnel/cli/statedir"
	"tunnel/config"
)

// auditLimit bounds how long the end of the hub waits for its audit log and its hooks.
const auditLimit = 2 * time.Second

// auditTrail passes on what the hub tells of itself.
type auditTrail struct {
	*audit.Recorder

	begun bool
	stop  context.CancelFunc
	ended chan struct{}
}

// recordEntries begins to pass entries on, first those of `tunnel token` from before the start. The
// caller closes the auditTrail.
func recordEntries(this machine.Machine, kept *serverState, told *config.Serve,
	log *slog.Logger) *auditTrail {
	t := &auditTrail{Recorder: audit.NewRecorder(told.Dev, this.Record, log),
		ended: make(chan struct{})}
	kept.record = t.Record
	if told.AuditLog != "" {
		ctx, cancel := context.WithTimeout(context.Background(), auditLimit)
		if err := t.Drain(ctx, kept.file.Bucket(statedir.BucketAudit)); err != nil {
			log.Warn("what was done with tokens before the start is not in the audit log yet", "err", err)
		}
		cancel()
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	go func() {
		defer close(t.ended)
		t.Run(ctx)
	}()
	return t
}

// started records that clients can connect.
func (t *auditTrail) started() {
	t.begun = true
	t.Record(audit.Entry{Event: audit.HubStarted})
}

// close records the hub's end, and passes on what is left, as long as auditLimit allows.
func (t *auditTrail) close() {
	if t.begun {
		t.Record(audit.Entry{Event: audit.HubStopped})
	}
	t.stop()
	select {
	case <-t.ended:
	case <-time.After(auditLimit):
	}
}
