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
	"tunnel/client/grant"
	"tunnel/config"
	"tunnel/host"
	"tunnel/packet"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/transport"
	"tunnel/tun"
)

// direct is the machine of a process that may do all by itself, and what a parent does for its worker.
type direct struct {
	i     *invocation
	user  sandbox.User // of a worker
	split bool         // there is one
	log   *slog.Logger

	made made // what MakeDevice has made

	mu   sync.Mutex
	down host.Want // guarded by mu; what --on-up has heard of and --on-down has not, or none
}

func (d *direct) Device(ctx context.Context) (tun.Device, client.Host, error) {
	file, name, offload, err := d.MakeDevice(ctx)
	if err != nil {
		return nil, nil, err
	}
	device, err := tun.Use(file, name, offload)
	if err != nil {
		return nil, nil, errors.Join(err, d.close()) //nolint:contextcheck // it has its own time
	}
	return device, d.made.host, nil
}

// MakeDevice implements privsep.Machine.
func (d *direct) MakeDevice(ctx context.Context) (*os.File, string, packet.Offload, error) {
	name := d.i.common.Dev
	var err error
	d.made, err = makeDevice(ctx, name, d.log)
	if d.made.host != nil {
		d.made.host.Resolvers = guarded(d.i)
	}
	return d.made.file, name, d.made.offload, err
}

// Host implements privsep.Machine.
func (d *direct) Host() *host.Host { return d.made.host }

// close undoes what a worker that was killed has left.
func (d *direct) close() error {
	d.mu.Lock()
	left := d.down
	d.mu.Unlock()
	if !left.IsZero() {
		d.Hook(context.Background(), flagOnDown, left.Addresses[0])
	}
	if d.made.host == nil {
		return nil
	}
	return d.made.host.Close()
}

func (d *direct) State(context.Context) (string, error) {
	owner := sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}
	dir, name, err := openState(d.i.state(), owner, d.user.UID)
	if err != nil {
		return "", err
	}
	return name, dir.Close()
}

// OpenState implements privsep.Machine. What a worker had that was nobody, for want of a user tunnel, is that user's now.
func (d *direct) OpenState() (*os.File, string, error) {
	former := 0
	if d.i.common.User == "" {
		former = sandbox.FormerUID(d.user)
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

// OpenListener implements privsep.Machine.
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

// Open implements privsep.Machine.
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

// Allow implements privsep.Machine: a server's device is as its flags say, a client's as its server says, within bounds.
func (d *direct) Allow(want host.Want) error {
	if d.i.serve != nil {
		if !want.Equal(serveWant(d.i.serve)) {
			return errors.New("refused: not what the flags say")
		}
		return nil
	}
	switch {
	case want.Dev != d.i.common.Dev:
		return errors.New("refused: another device")
	case want.MTU < transport.MinMTU || want.MTU > transport.MaxMTU || want.Qlen < 1 || want.Qlen > transport.MaxQlen:
		return fmt.Errorf("refused: mtu %d, qlen %d", want.MTU, want.Qlen)
	case len(want.Addresses) != 1 || len(want.Routes) != 1 || want.Routes[0].Via != want.Addresses[0].Peer:
		return errors.New("refused: not one address, and one route by its peer")
	}
	pair := want.Addresses[0]
	if err := grant.Check(want.Routes[0].Prefix, pair.Local, pair.Peer, d.i.connect.Network); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if d.i.onLink != nil {
		d.i.onLink()
	}
	return nil
}

// RunHook implements privsep.Machine.
func (d *direct) RunHook(ctx context.Context, flag string, set host.Want) error {
	if flag != flagOnUp && flag != flagOnDown {
		return fmt.Errorf("refused: --%.20s is no hook", flag)
	}
	d.mu.Lock()
	d.down = host.Want{}
	if flag == flagOnUp {
		d.down = set
	}
	d.mu.Unlock()
	d.Hook(ctx, flag, set.Addresses[0])
	return nil
}

func (d *direct) Hook(ctx context.Context, flag string, address host.Address) {
	if flag == flagOnDown {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
	}
	runHook(ctx, "--"+flag, d.i.hook(flag), d.i.common.Dev, address, d.log)
}

// Explain implements privsep.Machine.
func (d *direct) Explain(err error) *privsep.Failure {
	f := asFailure(err)
	return &privsep.Failure{Step: string(f.step), Text: f.err.Error(), Advice: f.advice}
}
