// Package reload has a run read its configuration again, and the command that asks for it, `tunnel
// reload`.
package reload

import (
	"context"
	"log/slog"
	"sync"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/config/setting"
	"tunnel/control"
	"tunnel/supervisor"
)

// Apply has what was read again hold. The error is what of it does not, for people. by is who asks
// for it; a signal has none.
type Apply func(ctx context.Context, by audit.Actor) error

// Reloader reads the configuration of a run again.
type Reloader struct {
	this    machine.Machine
	file    string
	log     *slog.Logger
	prepare func(*invocation.Invocation) (Apply, error)

	mu sync.Mutex // held while it is done
}

// New returns the Reloader of a run that began with i. prepare reads the files that the
// configuration names, and returns what applies it; an error leaves all as it is.
func New(this machine.Machine, i *invocation.Invocation, log *slog.Logger,
	prepare func(*invocation.Invocation) (Apply, error)) *Reloader {
	return &Reloader{this: this, file: i.File(), log: log, prepare: prepare}
}

// Reloads returns how the control socket has it done.
func (r *Reloader) Reloads() control.Reloads { return control.Reloads{File: r.file, Do: r.reload} }

// Run does it for each signal that asks for it, until ctx ends or the returned function is called.
func (r *Reloader) Run(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.this.Reload():
				_, _ = r.reload(ctx, audit.Actor{}) // the log has it
			}
		}
	})
	return func() { cancel(); group.Wait() }
}

// reload reads the configuration and the files that it names, has it hold in both processes or in
// none, and logs the one line about it. The error is a control.BadFileError for what a person can
// mend.
func (r *Reloader) reload(ctx context.Context, by audit.Actor) (control.Changes, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.this.Tell(supervisor.Reloading)
	defer r.this.Tell(supervisor.Reloaded)
	next, err := r.this.Reread(ctx)
	var apply Apply
	if err == nil {
		apply, err = r.prepare(next)
	}
	if err == nil {
		err = r.this.Adopt(ctx)
	}
	if err != nil {
		f := failure.Of(err)
		r.log.Error("the configuration is as it was: what was read again has an error",
			append([]any{"err", f.Err}, f.AdviceAttr()...)...)
		if f.Step == failure.StepUsage {
			err = control.BadFileError(err.Error())
		}
		return control.Changes{}, err
	}
	found := next.Changes()
	changes := control.Changes{AtOnce: found.AtOnce, Later: found.Later, Restart: found.Restart,
		Files: files(next)}
	log := r.log.Info
	if len(changes.Restart) > 0 {
		log = r.log.Warn
	}
	about := []any{"at_once", changes.AtOnce, "from_the_next_connection_on", changes.Later,
		"needs_a_restart", changes.Restart, "files", changes.Files}
	if err := apply(ctx, by); err != nil {
		changes.Failed, log = err.Error(), r.log.Warn
		about = append(about, "failed", changes.Failed)
	}
	log("configuration read again", about...)
	return changes, nil
}

// files returns the settings that can change without a restart and name a file whose content is
// used.
func files(i *invocation.Invocation) (names []string) {
	for _, s := range i.Settings() {
		if s.Input && s.Reload != setting.Restart && s.Text() != "" {
			names = append(names, s.Name)
		}
	}
	return names
}
