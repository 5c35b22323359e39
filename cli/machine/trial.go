package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/client/report"
	"tunnel/control"
	"tunnel/host"
	"tunnel/journal"
)

// trial is --confirm: it ends a run that is not confirmed in time. A nil *trial needs no
// confirmation.
type trial struct {
	limit time.Duration
	end   func()     // the run
	close func()     // the socket; nil if there is none
	host  *host.Host // by listen

	mu        sync.Mutex
	timer     *time.Timer // guarded by mu, as all below; nil before the first change
	confirmed bool
	expired   bool
}

// newTrial returns the trial of a run, nil if the flags want none: the command's context then ends
// when it fails.
func (d *direct) newTrial() *trial {
	if d.now().Connect == nil || d.now().Connect.Confirm == 0 {
		return nil
	}
	// Ctrl-Z would stop the time, and perhaps what a remote terminal needs.
	signal.Ignore(unix.SIGTSTP)
	run, end := context.WithCancel(d.now().CLI.Context)
	d.now().CLI.Context = run
	return &trial{limit: d.now().Connect.Confirm, end: end}
}

// listen opens the socket by which the run with that Host is confirmed. Its device is this
// process's own.
func (t *trial) listen(ctx context.Context, dev string, h *host.Host, log *slog.Logger) error {
	if t == nil {
		return nil
	}
	t.host = h
	dir, err := journal.Dir()
	if err != nil {
		return err
	}
	name, err := journal.NameFor(dev)
	if err != nil {
		return err
	}
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	ln, err := control.ListenConfirm(dir, name)
	if err != nil {
		stop()
		return failure.New(failure.StepState, fmt.Errorf("--confirm: %w", err), "")
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		control.ServeConfirm(serve, ln, func() error { return t.confirm(serve) }, log)
	})
	t.close = func() { stop(); serving.Wait() }
	return nil
}

// sealSlack is how much later than this process the kernel ends the kill switch of a run that was
// not confirmed: for the case that the process cannot.
const sealSlack = 2 * time.Second

// begin begins the time with the first change of the machine, and reports whether this is it.
func (t *trial) begin() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil || t.confirmed {
		return false
	}
	t.host.OnTrial(time.Now().Add(t.limit + sealSlack))
	t.timer = time.AfterFunc(t.limit, t.expire)
	return true
}

func (t *trial) confirm(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.expired {
		return errors.New("too late: everything is being undone")
	}
	if err := t.host.Confirm(ctx); err != nil {
		return err
	}
	t.confirmed = true
	return nil
}

func (t *trial) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.confirmed {
		t.expired = true
		t.end()
	}
}

// pending reports whether the run still has to be confirmed.
func (t *trial) pending() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.confirmed
}

// over closes the socket, and returns the error of a run that was not confirmed in time.
func (t *trial) over() error {
	if t == nil {
		return nil
	}
	if t.close != nil {
		t.close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
	if !t.expired {
		return nil
	}
	return failure.New(failure.StepConfirm,
		fmt.Errorf("not confirmed within %v: everything is undone", t.limit),
		"run `tunnel confirm` in time when all is well")
}

// changes is called before each change of the machine.
func (d *direct) changes() {
	if d.trial.begin() {
		_, _ = fmt.Fprintf(d.now().CLI.App.Writer, "everything is undone in %v, unless this is run: "+
			"tunnel confirm --dev %s\n", d.now().Connect.Confirm, d.now().Common.Dev)
	}
}

// End implements Machine. A kill switch stays if the run does not end as it was told to, unless it
// was never confirmed.
func (d *direct) End(told bool, err error) error {
	d.closeControl()
	d.keeper.End()
	unconfirmed := d.trial.pending()
	late := d.trial.over()
	h := d.made.host
	if h == nil {
		return errors.Join(late, err)
	}
	d.runDown()
	sealed := h.Sealed()
	if told || unconfirmed || !sealed {
		return errors.Join(late, err, h.Close())
	}
	d.log.Warn("the kill switch stays: nothing leaves this machine but by the tunnel",
		"end_it_with", "tunnel cleanup")
	return errors.Join(err, h.CloseSealed())
}

// runDown runs --on-down if a worker has left it to be run.
func (d *direct) runDown() {
	d.mu.Lock()
	left := d.down
	d.mu.Unlock()
	if !left.IsZero() {
		d.Hook(context.Background(), invocation.OnDown, left.Addresses[0], audit.Entry{
			Reason: report.Died, End: &audit.End{}})
	}
}
