// Package connect is the command `tunnel connect`.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/cli/dialers"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/observe"
	"tunnel/cli/output"
	"tunnel/cli/priority"
	"tunnel/cli/reload"
	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/config"
	"tunnel/dns"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/supervisor"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// Command returns the command.
func Command() *cli.Command {
	return &cli.Command{
		Name:      "connect",
		Usage:     "join the network of a server",
		ArgsUsage: "URL [URL...]",
		Description: "URL is ws://HOST[:PORT][/PATH] or wss://…; the default path is /ws, and port\n" +
			"443, while serve listens on 8443 without --listen. Further URLs are servers to try\n" +
			"when those before fail. Flags may stand before and after the URLs; TUNNEL_URL " +
			"replaces the URLs.\n" +
			"HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are respected. Example:\n\n" +
			"   sudo tunnel connect wss://server.example.com --token-file token",
		Flags:           invocation.Flags(config.DefaultConnect().Settings()),
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          connect,
	}
}

func connect(c *cli.Context) (err error) {
	i, err := invocation.New(c)
	if err != nil {
		return err
	}
	told := i.Connect
	if len(told.Servers) == 0 {
		return failure.Usage(
			"connect needs the server's URL: tunnel connect wss://HOST[:PORT][/PATH]")
	}
	held := output.Hold(i.Log().Handler())
	i.OnLink = held.Release
	defer func() {
		if err == nil { // a signal before there was a connection
			held.Release()
		}
	}()
	if told.KeepTrying {
		held.Release()
	}
	limited := loglimit.New(held) // a hostile server can cause any number of lines
	defer limited.Close()
	log := slog.New(limited)
	i.Warn(log)
	if told.DryRun {
		all, err := dialers.New(i, log)
		if err != nil {
			return err
		}
		return connectDryRun(c, told, all[0])
	}
	if machine.Mark(told) != 0 && cmdrun.SecureMode() {
		return failure.Usage("--full-tunnel and --kill-switch are for root: a program with file " +
			"capabilities does not redirect what others send")
	}
	if len(told.Advertise) > 0 && cmdrun.SecureMode() {
		return failure.Usage("--advertise is for root: a program with file capabilities does not " +
			"forward what others send")
	}
	this, err := machine.New(i, log)
	if this == nil {
		return err
	}
	defer func() { err = this.End(c.Err() != nil, err) }()
	all, err := dialers.New(i, log)
	if err != nil {
		return err
	}
	dialers.WarnLocal(c.Context, all, log)
	dev := told.Dev
	device, own, err := this.Device(c.Context)
	if err != nil {
		return err
	}
	failed := func(err error) error { return errors.Join(err, own.Close(), device.Close()) }
	dir, err := this.State(c.Context)
	if err != nil {
		return failed(err)
	}
	session, credentials, err := openKept(dir, dev, all, log)
	if err != nil {
		return failed(err)
	}
	observer, err := observe.New(c.Context, this, c.App.Version, log)
	if err != nil {
		session.Close()
		return failed(err)
	}
	defer observer.Close()
	priority.Take(log)
	events, traffic := newLines(c.App.Writer, dev), machine.Traffic(told)
	record := newRecorder(told, c.App.Version)
	record.Took = observer.Took
	var next dialers.Next
	member := client.New(client.Config{
		Dialer: all[0], Others: all[1:], Redial: func() []*ws.Dialer {
			return next.Take(dir, dev, credentials)
		},
		Network: machine.WatchNetwork(log), Device: device,
		Host:    own,
		Session: session, Credentials: credentials, Exchanges: auth.Exchanges, IsJoin: auth.IsJoin,
		Log:    log,
		Wanted: told.Address, Accept: told.Network, Resolvers: dns.Servers, MTU: told.MTU,
		Qlen: told.Qlen, KeepTrying: told.KeepTrying,
		Lanes: told.Lanes, Routes: told.Routes(), Full: traffic.Full, LAN: traffic.LAN,
		KillSwitch: traffic.Firewall.KillSwitch, AllNames: told.AllNames(), Site: told.Site(),
		Events: client.Events{
			Sealed: events.sealed,
			Connected: func(l transport.Link) {
				held.Release()
				record.Connected(l)
				events.up(l)
				this.Tell(supervisor.Connected)
			},
			Lost: func(err error) {
				record.Lost(err)
				events.down(err)
				this.Tell(supervisor.Disconnected)
			},
			Waits: record.Waits,
			Routes: func(taken, refused []netip.Prefix) {
				record.Routes(taken, refused)
				logRoutes(log, taken, refused)
			},
			Names: func(names dns.Config, err error) {
				record.Names(names, err)
				logNames(log, names, err)
			},
			Disallowed: func(networks []netip.Prefix) {
				log.Warn("the server ignores networks behind this client, because its token does "+
					"not allow them: run `tunnel token set NAME --route PREFIX` there",
					"networks", networks)
			},
			Unreached: func(servers []netip.Addr) {
				log.Warn("DNS servers of the server are not used: they lie in no network of the "+
					"tunnel that this client takes", "servers", servers)
			},
			Nameless: func() { warnNameless(told, log) },
			Up: func(ctx context.Context, a host.Address) {
				record.Up()
				this.Hook(ctx, invocation.OnUp, a, audit.Entry{})
			},
			Down: func(a host.Address) {
				this.Hook(context.WithoutCancel(c.Context), invocation.OnDown, a, past(record, c.Err()))
				record.Down()
			},
		},
	})
	record.Begin(member.Live)
	// It takes the client's locks; its own path monitor ends a connection that is stuck.
	alive := func() { _ = record.Status() }
	this.Watch(c.Context, alive)
	reloader := reload.New(this, i, log, func(told *invocation.Invocation) (reload.Apply, error) {
		fresh, err := dialers.New(told, log)
		return func(context.Context, audit.Actor) error {
			next.Set(fresh)
			return nil
		}, err
	})
	defer serveStatus(c.Context, this, record, reloader.Reloads(), log)()
	defer reloader.Run(c.Context)()
	observer.Client(record.Status, alive)
	return member.Run(c.Context)
}

// logRoutes logs what the client makes of the networks that the server pushes.
func logRoutes(log *slog.Logger, taken, refused []netip.Prefix) {
	log.Info("networks behind the server", "networks", taken)
	if len(refused) > 0 {
		log.Warn("the server pushes networks that this client has not accepted: "+
			"give --accept PREFIX for those that it is to take", "networks", refused)
	}
}

// connectDryRun prints the commands that would run. Only the server knows the pair that it will
// assign, so without --address they show the first pair of the default network, or of the first
// --network.
func connectDryRun(c *cli.Context, told *config.Connect, dialer *ws.Dialer) error {
	hops, err := dialer.Hops(c.Context)
	if err != nil {
		return err
	}
	dry := host.New(journal.Machine{
		Run: cmdrun.DryRun{W: c.App.Writer}, Look: rtnl.Kernel{},
	}, nil, nil)
	dry.Marked, dry.Full = dialer.Mark != 0, told.FullTunnel
	if err := dry.Bypass(c.Context, hops[0]); err != nil {
		return err
	}
	wanted, accepted := told.Address, told.Network
	network := append(slices.Clone(accepted), netip.MustParsePrefix("10.1.1.0/24"))[0]
	pair, _ := lease.PairOf(network, 1)
	if wanted.IsValid() {
		pair = lease.Pair{Local: wanted, Peer: wanted.Next()}
		network = netip.PrefixFrom(wanted, 24).Masked()
		if at := slices.IndexFunc(accepted,
			func(p netip.Prefix) bool { return p.Contains(wanted) }); at >= 0 {
			network = accepted[at]
		}
	}
	_, _ = fmt.Fprintln(c.App.Writer,
		"# the server decides on addresses, network, mtu and qlen; with its defaults:")
	want := host.Pair(told.Dev, 1400, 100, pair.Local, pair.Peer, network)
	want.Firewall = told.Site().Rules()
	want.Sysctls, _ = told.Site().Settings(told.Dev, func(a netip.Addr) (route.NextHop, error) {
		return dry.NextHop(c.Context, netip.AddrPortFrom(a, 0))
	})
	if mtu := told.MTU; mtu != 0 {
		want.MTU = mtu
	}
	if qlen := told.Qlen; qlen != 0 {
		want.Qlen = qlen
	}
	traffic := machine.Traffic(told)
	want.Full, want.LAN, want.Firewall.KillSwitch = traffic.Full, traffic.LAN,
		traffic.Firewall.KillSwitch
	if err := dry.Apply(c.Context, want); err != nil || !told.AllNames() {
		return err
	}
	first := network.Addr().Next() // the server's
	_, _ = fmt.Fprintf(c.App.Writer, "# and with the DNS servers that it pushes, such as %s:\n",
		first)
	want.Names = dns.Config{Servers: []netip.Addr{first}, All: true}
	return dry.Apply(c.Context, want)
}
