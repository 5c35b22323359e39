// Package connect is the command `tunnel connect`.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/output"
	"tunnel/client"
	"tunnel/cmdrun"
	"tunnel/config"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/rtnl"
	"tunnel/transport"
	"tunnel/transport/dial"
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
		dialers, err := newDialers(i, log)
		if err != nil {
			return err
		}
		return connectDryRun(c, told, dialers[0])
	}
	this, err := machine.New(i, log)
	if this == nil {
		return err
	}
	dialers, err := newDialers(i, log)
	if err != nil {
		return err
	}
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
	session, credentials, err := openKept(dir, dev, dialers, log)
	if err != nil {
		return failed(err)
	}
	machine.TakePriority(log)
	events := newLines(c.App.Writer, dev)
	return client.New(client.Config{
		Dialer: dialers[0], Others: dialers[1:], Network: machine.WatchNetwork(log), Device: device,
		Host:    own,
		Session: session, Credentials: credentials, Exchanges: auth.Exchanges, IsJoin: auth.IsJoin,
		Log:    log,
		Wanted: told.Address, Accept: told.Network, Resolvers: machine.Resolvers, MTU: told.MTU,
		Qlen: told.Qlen, KeepTrying: told.KeepTrying,
		Lanes: told.Lanes,
		Events: client.Events{
			Connected: func(l transport.Link) {
				held.Release()
				events.up(l)
			},
			Lost: events.down,
			Up: func(ctx context.Context, a host.Address) {
				this.Hook(ctx, invocation.OnUp, a)
			},
			Down: func(a host.Address) {
				this.Hook(context.WithoutCancel(c.Context), invocation.OnDown, a)
			},
		},
	}).Run(c.Context)
}

// newDialers returns a Dialer for each server, at least one.
func newDialers(i *invocation.Invocation, log *slog.Logger) (all []*ws.Dialer, err error) {
	told := i.Connect
	first := ws.Dialer{Dialer: dial.Dialer{Proxy: proxies(told.Proxy)}, Header: http.Header{},
		Congestion: told.Congestion}
	if first.Token, err = i.Token(); err != nil {
		return nil, err
	}
	for _, h := range told.Header {
		first.Header.Add(h.Name, h.Value)
	}
	if first.TLS, err = clientTLS(i, log); err != nil {
		return nil, err
	}
	for _, s := range told.Servers {
		d := first
		d.URL, d.Guess = s.URL, s.Guess
		all = append(all, &d)
	}
	return all, checkPlain(told.AllowPlain, all)
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
	if mtu := told.MTU; mtu != 0 {
		want.MTU = mtu
	}
	if qlen := told.Qlen; qlen != 0 {
		want.Qlen = qlen
	}
	return dry.Apply(c.Context, want)
}
