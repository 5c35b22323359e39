package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/host"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/tun"
)

// machine is what a run changes and opens this machine with: by itself, or through its parent.
type machine interface {
	// Device makes the TUN device, and the Host of its addresses and routes. The caller owns both: Host.Close first, so
	// that what was added is taken away by name, then Device.Close.
	Device(ctx context.Context) (tun.Device, client.Host, error)
	// State returns the directory for what is kept between runs. From then on a worker can reach nothing else.
	State(ctx context.Context) (string, error)
	Listen(ctx context.Context) (net.Listener, error)
	// Hook runs the command of a flag, with the device's address, until ctx ends.
	Hook(ctx context.Context, flag string, address host.Address)
}

// exited is the end of a worker that has said itself why.
type exited struct {
	code int
	left error // what its parent could not undo, nil if nothing
}

func (e *exited) Error() string { return fmt.Sprintf("the worker ended with exit code %d", e.code) }

// ended returns the error of a run from what its worker ended with, and what could not be undone afterwards.
func ended(code int, err, left error) error {
	switch {
	case err != nil && left != nil:
		return fail(stepInternal, fmt.Errorf("%w; and then: %w", err, left), "run `tunnel cleanup`")
	case err != nil:
		return fail(stepInternal, err, "")
	case code != 0:
		return &exited{code: code, left: left}
	}
	return left
}

// newMachine returns the machine of this process. When this process is to be the parent it runs the worker to its end before it
// returns; machine is then nil, and err that of the run.
func newMachine(i *invocation, log *slog.Logger) (machine, error) {
	outputOf(i.c).detach()
	user, err := sandbox.FindUser(i.common.User)
	if err != nil {
		return nil, usage("--user: %w", err)
	}
	if w := workerOf(i.c); w != nil {
		return &confined{Worker: w, i: i, user: user, log: log}, nil
	}
	own := &direct{i: i, user: user, log: log}
	if os.Geteuid() != 0 {
		if i.common.User != "" {
			return nil, usage("--user is for root: only root can become another user")
		}
		return own, nil
	}
	if i.common.NoSandbox {
		log.Warn("no sandbox: what talks to the network is root")
		return own, nil
	}
	if why := sandbox.CanSplit(user); why != nil {
		log.Info("no sandbox: all is one process", "reason", why)
		return own, nil
	}
	own.split = true
	parent := privsep.New(own, log)
	stdout, stderr := outputOf(i.c).stdout.w.Relay(), outputOf(i.c).stderr.w.Relay()
	parent.Stdout, parent.Stderr = stdout, stderr
	code, err := parent.Run(i.c.Context, args(i.c)[1:])
	stdout.Flush()
	stderr.Flush()
	return nil, ended(code, err, own.close())
}

// The parts of an App's metadata: what a command must know of its process.
const (
	metaWorker = "worker"
	metaArgs   = "args"
	metaOutput = "output"
)

func workerOf(c *cli.Context) *privsep.Worker {
	w, _ := c.App.Metadata[metaWorker].(*privsep.Worker)
	return w
}

func outputOf(c *cli.Context) *output {
	o, _ := c.App.Metadata[metaOutput].(*output)
	return o
}

func args(c *cli.Context) []string {
	args, _ := c.App.Metadata[metaArgs].([]string)
	return args
}
