package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/privsep"
	"tunnel/transport"
	"tunnel/tun"
)

const (
	flagUser      = "user"
	flagNoSandbox = "no-sandbox"
)

// sandboxFlags returns the flags about the process that talks to the network.
func sandboxFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagUser, Category: categoryHost, EnvVars: env(flagUser), Usage: "as root: `NAME` of the user who runs the part that talks to the network; tunnel if there is one, else nobody"},
		&cli.BoolFlag{Name: flagNoSandbox, Category: categoryHost, EnvVars: env(flagNoSandbox), Usage: "as root: do everything in one process with all rights"},
	}
}

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
func newHost(c *cli.Context, log *slog.Logger) (host, error) {
	user, err := privsep.FindUser(c.String(flagUser))
	if err != nil {
		return nil, usage("--%s: %w", flagUser, err)
	}
	if w := workerOf(c); w != nil {
		return &confined{Worker: w, c: c, user: user, log: log}, nil
	}
	own := &direct{c: c, user: user, log: log}
	if os.Geteuid() != 0 {
		if c.String(flagUser) != "" {
			return nil, usage("--%s is for root: only root can become another user", flagUser)
		}
		return own, nil
	}
	if c.Bool(flagNoSandbox) {
		log.Warn("no sandbox: what talks to the network is root")
		return own, nil
	}
	if why := privsep.CanSplit(user); why != nil {
		log.Info("no sandbox: all is one process", "reason", why)
		return own, nil
	}
	own.split = true
	parent := privsep.New(own, user, log)
	code, err := parent.Run(c.Context, args(c)[1:])
	return nil, ended(code, err, own.close())
}

// The parts of an App's metadata: what a command must know of its process.
const (
	metaWorker = "worker"
	metaArgs   = "args"
)

func workerOf(c *cli.Context) *privsep.Worker {
	w, _ := c.App.Metadata[metaWorker].(*privsep.Worker)
	return w
}

func args(c *cli.Context) []string {
	args, _ := c.App.Metadata[metaArgs].([]string)
	return args
}

// openInput opens the file that a flag names. A worker, which may not, is given it by its parent.
func openInput(c *cli.Context, flag string) (*os.File, error) {
	if w := workerOf(c); w != nil {
		return w.Open(flag)
	}
	return os.Open(c.String(flag))
}

// readInput returns what the file that a flag names holds.
func readInput(c *cli.Context, flag string) ([]byte, error) {
	file, err := openInput(c, flag)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(file)
}
