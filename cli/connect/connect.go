package cli

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
	"tunnel/client"
	"tunnel/config"
	"tunnel/ipcmd"
	"tunnel/lease"
	"tunnel/loglimit"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/transport"
)

// The flags of hooks, by which they are known to the parent process.
const (
	flagOnUp   = "on-up"
	flagOnDown = "on-down"
)

func connectCommand() *cli.Command {
	return &cli.Command{
		Name:      "connect",
		Usage:     "join the network of a server",
		ArgsUsage: "URL [URL...]",
		Description: "URL is ws://HOST[:PORT][/PATH] or wss://…; the path is /ws if there is none. Further URLs are servers to join when\n" +
			"the ones before cannot be. Flags may stand before and behind; TUNNEL_URL stands for the URLs. HTTPS_PROXY, HTTP_PROXY,\n" +
			"ALL_PROXY and NO_PROXY are respected. Example:\n\n" +
			"   sudo tunnel connect wss://server.example.com --token-file token",
		Flags:           settingFlags(config.DefaultConnect().Settings()),
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Action:          connect,
	}
}

func connect(c *cli.Context) (err error) {
	i, err := invoke(c)
	if err != nil {
		return err
	}
	told := i.connect
	if len(told.Servers) == 0 {
		return usage("connect needs the server's URL: tunnel connect wss://HOST[:PORT][/PATH]")
	}
	held := holdLog(i.log().Handler())
	i.onLink = held.release
	defer func() {
		if err == nil { // a signal, before there was a connection
			held.release()
		}
	}()
	if told.KeepTrying {
		held.release()
	}
	limited := loglimit.New(held) // a hostile server decides how often there is something to say
	defer limited.Close()
	log := slog.New(limited)
	i.warn(log)
	if told.DryRun {
		dialers, err := newDialers(i, log)
		if err != nil {
			return err
		}
		return connectDryRun(c, told, dialers[0])
	}
	host, err := newHost(i, log)
	if host == nil {
		return err
	}
	dialers, err := newDialers(i, log)
	if err != nil {
		return err
	}
	dev := told.Dev
	device, router, err := host.Device(c.Context)
	if err != nil {
		return err
	}
	failed := func(err error) error { return errors.Join(err, router.Close(), device.Close()) }
	dir, err := host.State(c.Context)
	if err != nil {
		return failed(err)
	}
	session, credentials, err := openKept(dir, dev, dialers, log)
	if err != nil {
		return failed(err)
	}
	takePriority(log)
	out := c.App.Writer
	return client.New(client.Config{
		Dialer: dialers[0], Others: dialers[1:], Network: watchNetwork(log), Device: device, Router: router,
		Session: session, Credentials: credentials, Exchanges: auth.Exchanges, IsJoin: auth.IsJoin, Log: log,
		Wanted: told.Address, Accept: told.Network, Resolvers: resolvers, MTU: told.MTU, Qlen: told.Qlen, KeepTrying: told.KeepTrying,
		Lanes: told.Lanes,
		Events: client.Events{
			Connected: func(l transport.Link) {
				held.release()
				_, _ = fmt.Fprintf(out, "up: dev %s, address %s peer %s, network %s, mtu %d\n", dev, l.Address, l.Peer, l.Network, l.MTU)
			},
			Lost: func(err error) {
				_, _ = fmt.Fprintf(out, "down: %v\n", err)
			},
			Up: func(ctx context.Context, l transport.Link) {
				host.Hook(ctx, flagOnUp, l)
			},
			Down: func(l transport.Link) {
				host.Hook(context.WithoutCancel(c.Context), flagOnDown, l)
			},
		},
	}).Run(c.Context)
}

// newDialers returns the paths to all servers, at least one.
func newDialers(i *invocation, log *slog.Logger) (all []*transport.Dialer, err error) {
	told := i.connect
	first := transport.Dialer{Header: http.Header{}, Proxy: proxies(told.Proxy), Congestion: told.Congestion}
	if first.Token, err = i.token(); err != nil {
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

// connectDryRun prints what would run. Only the server knows the pair that it will give, so without --address the
// first one of the default network, or of the first that --network accepts, stands for it.
func connectDryRun(c *cli.Context, told *config.Connect, dialer *transport.Dialer) error {
	hops, err := dialer.Hops(c.Context)
	if err != nil {
		return err
	}
	router := route.New(ipcmd.DryRun{W: c.App.Writer}, rtnl.Kernel{}, nil, nil)
	if err := router.Bypass(c.Context, hops[0]); err != nil {
		return err
	}
	wanted, accepted := told.Address, told.Network
	network := append(slices.Clone(accepted), netip.MustParsePrefix("10.1.1.0/24"))[0]
	pair, _ := lease.PairOf(network, 1)
	if wanted.IsValid() {
		pair = lease.Pair{Local: wanted, Peer: wanted.Next()}
		network = netip.PrefixFrom(wanted, 24).Masked()
		if at := slices.IndexFunc(accepted, func(p netip.Prefix) bool { return p.Contains(wanted) }); at >= 0 {
			network = accepted[at]
		}
	}
	_, _ = fmt.Fprintln(c.App.Writer, "# the server decides on addresses, network, mtu and qlen; with its defaults:")
	want := route.Config{Dev: told.Dev, MTU: 1400, Qlen: 100, Local: pair.Local, Peer: pair.Peer, Network: network}
	if mtu := told.MTU; mtu != 0 {
		want.MTU = mtu
	}
	if qlen := told.Qlen; qlen != 0 {
		want.Qlen = qlen
	}
	return router.Set(c.Context, want)
}
