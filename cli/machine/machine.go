// Package machine is a run's access to this machine: device, state directory, listener and hooks. A
// process has it directly, or, as a worker, through its parent.
package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/record"
	"tunnel/client"
	"tunnel/host"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/supervisor"
	"tunnel/tun"
)

// Machine is a run's access to this machine.
type Machine interface {
	// Device creates the TUN device, and the Host of its addresses and routes. The caller closes
	// both, the Host first, so that it removes what it has added by name.
	Device(ctx context.Context) (tun.Device, client.Host, error)
	// State returns the state directory. A worker can access no other files afterwards.
	State(ctx context.Context) (string, error)
	// Listen returns a server's listener, or a client's control socket, once Device has returned.
	Listen(ctx context.Context) (net.Listener, error)
	// ListenAt returns the listener of --metrics or --web, once Device has returned; nil without that
	// flag.
	ListenAt(ctx context.Context, flag string) (net.Listener, error)
	// Hook runs the command of a client's flag, with the device's address and the session that it is
	// about, until ctx ends.
	Hook(ctx context.Context, flag string, address host.Address, about audit.Entry)
	// Record keeps a server's entries in its audit log, and has the hooks about them run.
	Record(ctx context.Context, entries []audit.Entry) error
	// Tell tells the service manager a state, if there is one.
	Tell(supervisor.State)
	// Watch has the service manager told that the process is alive, as long as check returns, until
	// ctx ends.
	Watch(ctx context.Context, check func())
	// End undoes what is left after a client's run, and returns the run's error: err, unless there is
	// more to say. told reports whether the run ended because it was told to.
	End(told bool, err error) error
}

// ended returns the error of a run from its worker's exit code and error, and from what could not
// be undone afterwards.
func ended(code int, err, left error) error {
	var said *failure.Failure
	switch {
	case errors.As(left, &said) && said.Step == failure.StepConfirm:
		return left
	case err != nil && left != nil:
		return failure.New(failure.StepInternal, fmt.Errorf("%w; and then: %w", err, left),
			"run `tunnel cleanup`")
	case err != nil:
		return failure.New(failure.StepInternal, err, "")
	case code != 0:
		return &failure.WorkerEnded{Code: code, Left: left}
	}
	return left
}

// endsSoon reports whether ctx ends within a second: a signal to both processes may have ended the
// worker first.
func endsSoon(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-time.After(time.Second):
		return false
	}
}

// New returns the Machine of this process. A process that becomes the parent runs its worker to the
// end first; it then returns a nil Machine, and the error of the run.
func New(i *invocation.Invocation, log *slog.Logger) (Machine, error) {
	invocation.Output(i.CLI).Detach()
	user, err := sandbox.FindUser(i.Common.User)
	if err != nil {
		return nil, failure.Usage("--user: %w", err)
	}
	if w := invocation.Worker(i.CLI); w != nil {
		return &confined{Worker: w, i: i, user: user, log: log}, nil
	}
	own := &direct{i: i, user: user, beside: map[string]net.Listener{}, log: log}
	own.trial = own.newTrial()
	if i.Serve != nil {
		if own.keeper, err = record.New(i.Serve, log); err != nil {
			return nil, err
		}
	}
	if os.Geteuid() != 0 {
		if i.Common.User != "" {
			return nil, failure.Usage("--user is for root: only root can become another user")
		}
		return own, nil
	}
	if i.Common.NoSandbox {
		log.Warn("no sandbox: the process that talks to the network is root")
		return own, nil
	}
	if why := sandbox.CanSplit(user); why != nil {
		log.Info("no sandbox: all is one process", "reason", why)
		return own, nil
	}
	own.split = true
	parent := privsep.New(own, log)
	parent.Watch = supervisor.Interval()
	stdout, stderr := invocation.Output(i.CLI).Stdout.Spool.Relay(),
		invocation.Output(i.CLI).Stderr.Spool.Relay()
	parent.Stdout, parent.Stderr = stdout, stderr
	code, err := parent.Run(i.CLI.Context, invocation.Args(i.CLI)[1:])
	stdout.Flush()
	stderr.Flush()
	told := i.CLI.Err() != nil || code == 0 && err == nil && endsSoon(i.CLI.Context)
	return nil, ended(code, err, own.End(told, nil))
}
