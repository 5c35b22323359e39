package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/privsep"
	"tunnel/transport"
	"tunnel/tun"
)

// host is what a run has of this machine: its own hands, or its parent's.
type host interface {
	// Device makes the TUN device, and the Router of its addresses and routes. The caller owns both: Router.Close first, so
	// that what was added is taken away by name, then Device.Close.
	Device(ctx context.Context) (tun.Device, client.Router, error)
	// State returns the directory for what is kept between runs. From then on a worker can reach nothing else.
	State(ctx context.Context) (string, error)
	Listen(ctx context.Context) (net.Listener, error)
	// Hook runs the command of a flag, with the addresses of link, until ctx ends.
	Hook(ctx context.Context, flag string, link transport.Link)
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

// newHost returns the host of this process. When this process is to be the parent it runs the worker to its end before it
// returns; host is then nil, and err that of the run.
func newHost(i *invocation, log *slog.Logger) (host, error) {
	outputOf(i.c).detach()
	user, err := privsep.FindUser(i.common.User)
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
	if why := privsep.CanSplit(user); why != nil {
		log.Info("no sandbox: all is one process", "reason", why)
		return own, nil
	}
	own.split = true
	parent := privsep.New(own, user, log)
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
