package machine

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

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/client"
	"tunnel/client/grant"
	"tunnel/config"
	"tunnel/host"
	"tunnel/lease"
	"tunnel/packet"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/transport"
	"tunnel/tun"
)

// direct is the Machine of a process with privileges, and what a parent does for its worker.
type direct struct {
	i     *invocation.Invocation
	user  sandbox.User // of the worker
	split bool         // there is a worker
	log   *slog.Logger

	made made // by MakeDevice

	mu   sync.Mutex
	down host.Want // guarded by mu; the last Want of --on-up without --on-down yet, or zero
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
	name := d.i.Common.Dev
	var err error
	d.made, err = makeDevice(ctx, name, d.log)
	if d.made.host != nil {
		d.made.host.Resolvers = guarded(d.i)
	}
	return d.made.file, name, d.made.offload, err
}

// Host implements privsep.Machine.
func (d *direct) Host() *host.Host { return d.made.host }

// close undoes what a killed worker has left.
func (d *direct) close() error {
	d.mu.Lock()
	left := d.down
	d.mu.Unlock()
	if !left.IsZero() {
		d.Hook(context.Background(), invocation.OnDown, left.Addresses[0])
	}
	if d.made.host == nil {
		return nil
	}
	return d.made.host.Close()
}

func (d *direct) State(context.Context) (string, error) {
	owner := sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}
	dir, name, err := statedir.Open(stateOf(d.i), owner, d.user.UID)
	if err != nil {
		return "", err
	}
	return name, dir.Close()
}

// OpenState implements privsep.Machine. A directory of nobody, from before there was a user tunnel,
// is handed over to that user.
func (d *direct) OpenState() (*os.File, string, error) {
	former := 0
	if d.i.Common.User == "" {
		former = sandbox.FormerUID(d.user)
	}
	return statedir.Open(stateOf(d.i), d.user, former)
}

func (d *direct) Listen(ctx context.Context) (net.Listener, error) {
	//nolint:contextcheck // it reads /etc/services
	address, err := config.ListenAddress(d.i.Serve.Listen)
	if err != nil {
		return nil, failure.Usage("--listen%w", err)
	}
	for until := time.Now().Add(ghostLimit); ; {
		ln, err := listen(ctx, address, d.i.Serve.Freebind)
		if !errors.Is(err, unix.EADDRINUSE) || !d.made.healed || time.Now().After(until) {
			return ln, err
		}
		time.Sleep(ghostPause)
	}
}

// OpenListener implements privsep.Machine.
func (d *direct) OpenListener(ctx context.Context) (*os.File, error) {
	if d.i.Serve == nil {
		return nil, errors.New("refused: only serve listens")
	}
	ln, err := d.Listen(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("%T is not a TCP listener", ln)
	}
	return tcp.File()
}

// Open implements privsep.Machine.
func (d *direct) Open(flag string) (*os.File, error) {
	if flag == invocation.FlagConfig {
		return d.i.CopyOfFile()
	}
	return d.i.OpenOwn(flag)
}

// Allow implements privsep.Machine: a server's device must be as its flags say, a client's as its
// server says, within bounds.
func (d *direct) Allow(want host.Want) error {
	if d.i.Serve != nil {
		if !want.Equal(ServeWant(d.i.Serve)) {
			return errors.New("refused: not what the flags say")
		}
		return nil
	}
	switch {
	case want.Dev != d.i.Common.Dev:
		return errors.New("refused: another device")
	case want.MTU < transport.MinMTU || want.MTU > transport.MaxMTU || want.Qlen < 1 ||
		want.Qlen > transport.MaxQlen:
		return fmt.Errorf("refused: mtu %d, qlen %d", want.MTU, want.Qlen)
	case len(want.Addresses) != 1 || len(want.Routes) != 1 ||
		want.Routes[0].Via != want.Addresses[0].Peer:
		return errors.New("refused: not one address, and one route by its peer")
	}
	pair, accepted := want.Addresses[0], d.i.Connect.Network
	if err := grant.Check(want.Routes[0].Prefix, pair.Local, pair.Peer, accepted); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if d.i.OnLink != nil {
		d.i.OnLink()
	}
	return nil
}

// RunHook implements privsep.Machine.
func (d *direct) RunHook(ctx context.Context, flag string, set host.Want) error {
	if flag != invocation.OnUp && flag != invocation.OnDown {
		return fmt.Errorf("refused: --%.20s is not a hook", flag)
	}
	d.mu.Lock()
	d.down = host.Want{}
	if flag == invocation.OnUp {
		d.down = set
	}
	d.mu.Unlock()
	d.Hook(ctx, flag, set.Addresses[0])
	return nil
}

func (d *direct) Hook(ctx context.Context, flag string, address host.Address) {
	if flag == invocation.OnDown {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), downTimeout)
		defer cancel()
	}
	runHook(ctx, "--"+flag, d.i.Hook(flag), d.i.Common.Dev, address, d.log)
}

// Explain implements privsep.Machine.
func (d *direct) Explain(err error) *privsep.Failure {
	f := failure.Of(err)
	return &privsep.Failure{Step: string(f.Step), Text: f.Err.Error(), Advice: f.Advice}
}

// ServeWant returns the configuration of a server's device.
func ServeWant(told *config.Serve) host.Want {
	pair, _ := lease.PairOf(told.Network, 0)
	return host.Pair(told.Dev, told.MTU, told.Qlen, pair.Local, pair.Peer, told.Network)
}

// stateOf returns the state directory that an invocation chooses.
func stateOf(i *invocation.Invocation) statedir.Choice {
	return statedir.Choice{
		Dir: i.Common.State, Given: i.Common.From.Given(invocation.FlagState),
	}
}
