package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/cli/hooks"
	"tunnel/cli/invocation"
	"tunnel/cli/record"
	"tunnel/cli/statedir"
	"tunnel/client"
	"tunnel/client/grant"
	"tunnel/client/report"
	"tunnel/config"
	"tunnel/config/location"
	"tunnel/control"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/lease"
	"tunnel/packet"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/route"
	"tunnel/supervisor"
	"tunnel/sysctl"
	"tunnel/tun"
)

// direct is the Machine of a process with privileges, and what a parent does for its worker.
type direct struct {
	current *invocation.Current
	user    sandbox.User // of the worker
	split   bool         // there is a worker
	log     *slog.Logger

	made     made           // by MakeDevice
	trial    *trial         // --confirm; nil without
	keeper   *record.Keeper // of a server's audit log and hooks; nil without
	listened atomic.Bool    // Listen of a server was called
	started  atomic.Bool    // the service manager was told so

	mu sync.Mutex
	// guarded by mu; by ListenAt, by the flag, and a client's control socket, by ""
	beside map[string]net.Listener
	down   host.Want // guarded by mu; the last Want of --on-up without --on-down yet, or zero
	// guarded by mu; what was allowed of a client's forwarding, whose interfaces may change
	forwards []sysctl.Setting
}

func (d *direct) Device(ctx context.Context) (tun.Device, client.Host, error) {
	file, name, offload, err := d.MakeDevice(ctx)
	if err != nil {
		return nil, nil, err
	}
	device, err := tun.Use(file, name, offload)
	if err != nil {
		//nolint:contextcheck // it has its own time
		return nil, nil, errors.Join(err, d.made.host.CloseSealed())
	}
	if d.now().Connect != nil {
		return device, kept{d.made.host, d}, nil
	}
	return device, d.made.host, nil
}

// MakeDevice implements privsep.Machine.
func (d *direct) MakeDevice(ctx context.Context) (*os.File, string, packet.Offload, error) {
	name := d.now().Common.Dev
	var err error
	d.made, err = makeDevice(ctx, name, d.log, d.keepSealed)
	if d.made.host != nil {
		d.made.host.Resolvers = guarded(d.now())
		d.made.host.Marked = Mark(d.now().Connect) != 0
		if d.split {
			d.made.host.User = uint32(d.user.UID)
		}
		d.made.host.Full = d.now().Connect != nil && d.now().Connect.FullTunnel
	}
	if err == nil {
		if err = d.trial.listen(ctx, name, d.made.host, d.log); err != nil {
			//nolint:contextcheck // it has its own time
			err = errors.Join(err, d.made.host.CloseSealed(), d.made.file.Close())
			d.made = made{}
		}
	}
	return d.made.file, name, d.made.offload, err
}

// Host implements privsep.Machine.
func (d *direct) Host() *host.Host { return d.made.host }

func (d *direct) State(context.Context) (string, error) {
	owner := sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}
	dir, name, err := statedir.Open(StateOf(d.now()), owner, d.user.UID)
	if err != nil {
		return "", err
	}
	return name, dir.Close()
}

// OpenState implements privsep.Machine. A directory of nobody, from before there was a user tunnel,
// is handed over to that user.
func (d *direct) OpenState() (*os.File, string, error) {
	former := 0
	if d.now().Common.User == "" {
		former = sandbox.FormerUID(d.user)
	}
	return statedir.Open(StateOf(d.now()), d.user, former)
}

func (d *direct) Listen(ctx context.Context) (net.Listener, error) {
	if d.now().Connect != nil {
		return d.listenControl()
	}
	if d.listened.Swap(true) {
		return nil, errors.New("refused: the server's socket is made once")
	}
	ln, err := supervisor.Listener()
	if err != nil {
		return nil, failure.New(failure.StepListen, err,
			"let tunnel-serve.socket have one ListenStream=, a port or an address with one")
	}
	if ln != nil {
		d.log.Info("the service manager listens for this process; --listen is not used")
		return ln, nil
	}
	//nolint:contextcheck // it reads /etc/services
	address, err := location.Listen(d.now().Serve.Listen)
	if err != nil {
		return nil, failure.Usage("--listen%w", err)
	}
	for until := time.Now().Add(ghostLimit); ; {
		ln, err := listen(ctx, flagListen, address, d.now().Serve.Freebind)
		if !errors.Is(err, unix.EADDRINUSE) || !d.made.healed || time.Now().After(until) {
			return ln, err
		}
		time.Sleep(ghostPause)
	}
}

// OpenListener implements privsep.Machine.
func (d *direct) OpenListener(ctx context.Context, flag string) (*os.File, error) {
	if flag != "" {
		return d.openAt(ctx, flag)
	}
	ln, err := d.Listen(ctx)
	if err != nil {
		return nil, err
	}
	if d.now().Connect != nil {
		return control.File(ln)
	}
	defer func() { _ = ln.Close() }()
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fmt.Errorf("%T is not a TCP listener", ln)
	}
	return tcp.File()
}

// Open implements privsep.Machine.
func (d *direct) Open(flag string, next bool) (*os.File, error) {
	return d.current.Open(flag, next)
}

// Allow implements privsep.Machine: a server's device must be as its flags say, a client's as its
// server says, within bounds. Each may have further routes, by the peer: a server to private
// networks behind its clients, a client to those that its flags accept.
func (d *direct) Allow(want host.Want) error {
	if d.now().Connect != nil && len(want.Addresses)+len(want.Routes) == 0 {
		return d.allowSeal(want)
	}
	if len(want.Addresses) != 1 || len(want.Routes) == 0 {
		return errors.New("refused: not one address, and a route")
	}
	more := want.Routes[1:]
	networks := make([]netip.Prefix, len(more))
	for i, r := range more {
		if r.Via != want.Addresses[0].Peer {
			return errors.New("refused: a route that is not by the peer")
		}
		networks[i] = r.Prefix
	}
	want.Routes = want.Routes[:1]
	if d.now().Serve != nil {
		err := allowForwarding(d.now().Serve, want)
		if before := d.current.Before(); before != nil && err != nil {
			err = allowForwarding(before.Serve, want)
		}
		if err != nil {
			return err
		}
		want.Firewall, want.Sysctls = firewall.Rules{}, nil
		flags := ServeWant(d.now().Serve)
		flags.Firewall = firewall.Rules{}
		if !want.Equal(flags) {
			return errors.New("refused: not what the flags say")
		}
		for _, n := range networks {
			if !CanRoute(d.now().Serve.Network, n) {
				return fmt.Errorf("refused: a route to %s", n)
			}
		}
		return nil
	}
	if err := d.allowDevice(want); err != nil {
		return err
	}
	switch {
	case want.Full != Traffic(d.now().Connect).Full:
		return errors.New("refused: other traffic than the flags say")
	case want.Routes[0].Via != want.Addresses[0].Peer:
		return errors.New("refused: not one address, and one route by its peer")
	}
	if err := d.allowSite(want); err != nil {
		return err
	}
	if err := d.allowNames(want.Names, append(networks, want.Routes[0].Prefix)); err != nil {
		return err
	}
	pair, accepted := want.Addresses[0], d.now().Connect.Network
	if err := grant.Check(want.Routes[0].Prefix, pair.Local, pair.Peer, accepted); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	if err := d.now().Connect.Routes().Check(networks); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	d.changes()
	if d.now().OnLink != nil {
		d.now().OnLink()
	}
	return nil
}

// CanRoute reports whether a server routes a network behind a client from its own machine: a
// private one, which its packets would otherwise not find. Public ones are where the internet has
// them.
func CanRoute(own, network netip.Prefix) bool {
	return route.IsPrivate(network) && route.IsRoutable(network) && !network.Overlaps(own)
}

// RunHook implements privsep.Machine.
func (d *direct) RunHook(ctx context.Context, flag string, set host.Want,
	about *audit.Entry) error {
	if flag != invocation.OnUp && flag != invocation.OnDown {
		return fmt.Errorf("refused: %.20q is not a hook", flag)
	}
	var past audit.Entry
	if about != nil {
		if past = *about; flag != invocation.OnDown || !isPast(past) {
			return errors.New("refused: a hook about what no client tells")
		}
	}
	d.mu.Lock()
	d.down = host.Want{}
	if flag == invocation.OnUp {
		d.down = set
	}
	d.mu.Unlock()
	d.Hook(ctx, flag, set.Addresses[0], past)
	return nil
}

// isPast reports whether e is what a client tells --on-down: how the time was since the device was
// up, and nothing else.
func isPast(e audit.Entry) bool {
	only := audit.Entry{Time: e.Time, Event: audit.SessionEnded, Reason: e.Reason, End: e.End}
	return e.End != nil && (e.Reason == "" || report.IsWhy(e.Reason)) && e.Check() == nil &&
		reflect.DeepEqual(e, only)
}

func (d *direct) Hook(ctx context.Context, flag string, address host.Address, about audit.Entry) {
	call := hooks.Call{Flag: flag, Command: d.now().Hook(flag), Dev: d.now().Common.Dev,
		Address: address, About: about}
	if flag == invocation.OnDown {
		call.Down(ctx, d.log)
		return
	}
	call.Up(ctx, d.log)
}

func (d *direct) Record(_ context.Context, entries []audit.Entry) error {
	return d.keeper.Write(entries) //nolint:contextcheck // hooks have their own time
}

// Explain implements privsep.Machine.
func (d *direct) Explain(err error) *privsep.Failure {
	f := failure.Of(err)
	return &privsep.Failure{Step: string(f.Step), Text: f.Err.Error(), Advice: f.Advice}
}

// ServeWant returns the configuration of a server's device. Networks that it forwards to, and
// forwarding itself, are added when the server runs.
func ServeWant(told *config.Serve) host.Want {
	pair, _ := lease.PairOf(told.Network, 0)
	want := host.Pair(told.Dev, told.MTU, told.Qlen, pair.Local, pair.Peer, told.Network)
	want.Firewall = ForwardRules(told, nil, nil)
	return want
}

// StateOf returns the state directory that an invocation chooses.
func StateOf(i *invocation.Invocation) statedir.Choice {
	return statedir.Choice{
		Dir: i.Common.State, Given: i.Common.From.Given(invocation.FlagState),
	}
}
