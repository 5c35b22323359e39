package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/client"
	"tunnel/config"
	"tunnel/packet"
	"tunnel/privsep"
	"tunnel/route"
	"tunnel/transport"
	"tunnel/tun"
)

// direct is the host of a process that may do all by itself, and what a parent does for its worker.
type direct struct {
	i     *invocation
	user  privsep.User // of a worker
	split bool         // there is one
	log   *slog.Logger

	made made // what MakeDevice has made

	mu   sync.Mutex
	down route.Config // guarded by mu; what --on-up has heard of and --on-down has not, or zero
}

func (d *direct) Device(ctx context.Context) (tun.Device, client.Router, error) {
	file, name, offload, err := d.MakeDevice(ctx)
	if err != nil {
		return nil, nil, err
	}
	device, err := tun.Use(file, name, offload)
	if err != nil {
		return nil, nil, errors.Join(err, d.close()) //nolint:contextcheck // it has its own time
	}
	return device, d.made.router, nil
}

// MakeDevice implements privsep.Host.
func (d *direct) MakeDevice(ctx context.Context) (*os.File, string, packet.Offload, error) {
	name := d.i.common.Dev
	var err error
	d.made, err = makeDevice(ctx, name, d.log)
	if d.made.router != nil {
		d.made.router.Resolvers = guarded(d.i)
	}
	return d.made.file, name, d.made.offload, err
}

// Router implements privsep.Host.
func (d *direct) Router() *route.Router { return d.made.router }

// close undoes what a worker that was killed has left.
func (d *direct) close() error {
	d.mu.Lock()
	left := d.down
	d.mu.Unlock()
	if left != (route.Config{}) {
		d.Hook(context.Background(), flagOnDown, transport.Link{Address: left.Local, Peer: left.Peer})
	}
	if d.made.router == nil {
		return nil
	}
	return d.made.router.Close()
}

func (d *direct) State(context.Context) (string, error) {
	owner := privsep.User{UID: os.Geteuid(), GID: os.Getegid()}
	dir, name, err := openState(d.i.state(), owner, d.user.UID)
	if err != nil {
		return "", err
	}
	return name, dir.Close()
}

// OpenState implements privsep.Host. What a worker had that was nobody, for want of a user tunnel, is that user's now.
func (d *direct) OpenState() (*os.File, string, error) {
	former := 0
	if d.i.common.User == "" {
		former = privsep.FormerUID(d.user)
	}
	return openState(d.i.state(), d.user, former)
}

func (d *direct) Listen(ctx context.Context) (net.Listener, error) {
	address, err := config.ListenAddress(d.i.serve.Listen) //nolint:contextcheck // it reads /etc/services
	if err != nil {
		return nil, usage("--listen%w", err)
	}
	for until := time.Now().Add(ghostLimit); ; {
		ln, err := listen(ctx, address, d.i.serve.Freebind)
		if !errors.Is(err, unix.EADDRINUSE) || !d.made.healed || time.Now().After(until) {
			return ln, err
		}
		time.Sleep(ghostPause)
	}
}

// OpenListener implements privsep.Host.
func (d *direct) OpenListener(ctx context.Context) (*os.File, error) {
	if d.i.serve == nil {
		return nil, errors.New("refused: only serve listens")
	}
	ln, err := d.Listen(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("%T is no TCP listener", ln)
	}
	return tcp.File()
}

// Open implements privsep.Host.
func (d *direct) Open(flag string) (*os.File, error) {
	if flag == flagConfig {
		return d.i.copyOfFile()
	}
	name := d.i.input(flag)
	if name == "" {
		return nil, fmt.Errorf("refused: --%.20s names no file to read", flag)
	}
	return os.Open(name)
}

// Allow implements privsep.Host: a server's device is as its flags say, a client's as its server says, within bounds.
func (d *direct) Allow(want route.Config) error {
	if d.i.serve != nil {
		if want != serveConfig(d.i.serve) {
			return errors.New("refused: not what the flags say")
		}
		return nil
	}
	switch {
	case want.Dev != d.i.common.Dev:
		return errors.New("refused: another device")
	case want.MTU < transport.MinMTU || want.MTU > transport.MaxMTU || want.Qlen < 1 || want.Qlen > transport.MaxQlen:
		return fmt.Errorf("refused: mtu %d, qlen %d", want.MTU, want.Qlen)
	}
	if err := client.CheckGrant(want.Network, want.Local, want.Peer, d.i.connect.Network); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if d.i.onLink != nil {
		d.i.onLink()
	}
	return nil
}

// RunHook implements privsep.Host.
func (d *direct) RunHook(ctx context.Context, flag string, set route.Config) error {
	if flag != flagOnUp && flag != flagOnDown {
		return fmt.Errorf("refused: --%.20s is no hook", flag)
	}
	d.mu.Lock()
	d.down = route.Config{}
	if flag == flagOnUp {
		d.down = set
	}
	d.mu.Unlock()
	d.Hook(ctx, flag, transport.Link{Address: set.Local, Peer: set.Peer})
	return nil
}

func (d *direct) Hook(ctx context.Context, flag string, link transport.Link) {
	if flag == flagOnDown {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
	}
	runHook(ctx, "--"+flag, d.i.hook(flag), d.i.common.Dev, link, d.log)
}

// Explain implements privsep.Host.
func (d *direct) Explain(err error) *privsep.Failure {
	f := asFailure(err)
	return &privsep.Failure{Step: string(f.step), Text: f.err.Error(), Advice: f.advice}
}
