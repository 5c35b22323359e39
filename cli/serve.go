package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"tunnel/cmdrun"
	"tunnel/config"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/lease"
	"tunnel/server"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "be the hub: make the network, let clients in",
		Description: "The first start makes a token, and without --plain, --tls-cert and --acme a key of its own, and prints the line that\n" +
			"joins another machine; tunnel token makes more. Examples, the last for use behind a proxy that speaks TLS:\n\n" +
			"   sudo tunnel serve\n" +
			"   sudo tunnel serve --listen :443 --acme server.example.com\n" +
			"   sudo tunnel serve --plain --listen 127.0.0.1:8443 --public server.example.com",
		Flags:           settingFlags(config.DefaultServe().Settings()),
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Action:          serve,
	}
}

func serve(c *cli.Context) (err error) {
	if err := noMore(c, 0); err != nil {
		return err
	}
	i, err := invoke(c)
	if err != nil {
		return err
	}
	told, log := i.serve, i.log()
	i.warn(log)
	memory := serveMemory(told.MaxMemory)
	want := serveWant(told)
	if told.DryRun {
		return host.New(journal.Machine{Run: cmdrun.DryRun{W: c.App.Writer}}, nil, nil).Apply(c.Context, want)
	}
	if workerOf(c) == nil {
		outputOf(c).watchJoinLine(log)
	}
	machine, err := newMachine(i, log)
	if machine == nil {
		return err
	}
	secret, err := serverToken(i, log)
	if err != nil {
		return err
	}
	secure, err := newServerTLS(i, log)
	if err != nil {
		return err
	}
	// Before the state is touched: whoever may not make the device has that to hear, not that a directory is missing.
	device, own, err := machine.Device(c.Context)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	defer func() { _ = device.Close() }() // Run closes it too; this is for failures before
	dir, err := machine.State(c.Context)
	if err != nil {
		return err
	}
	kept, err := openServerState(dir, told, secret, log)
	if err != nil {
		return err
	}
	defer kept.close()
	tlsConfig, err := secure.open(dir)
	if err != nil {
		return err
	}
	held, err := holdDevice(c.Context, own, want, log)
	if err != nil {
		return err
	}
	defer held.close()
	ln, err := machine.Listen(c.Context)
	if err != nil {
		return err
	}
	if tlsConfig == nil && !isLoopback(ln.Addr()) {
		log.Warn("ws:// without TLS: everybody on the way can read the token and the packets; put a proxy with TLS in front")
	}
	_, _ = fmt.Fprintf(c.App.Writer, "listening on %s, network %s, dev %s, address %s peer %s\n",
		withZone(ln.Addr(), told.Listen), told.Network, want.Dev, want.Addresses[0].Local, want.Addresses[0].Peer)
	if err := printConnectLine(c.App.Writer, told, secure, kept, ln.Addr()); err != nil {
		return err
	}
	defer secure.keep(c.Context)()
	limitMemory(memory)
	hub, err := server.New(server.Config{
		Device: device, Leases: kept.leases, Auth: kept.auth, TLS: tlsConfig, Path: told.Path,
		MTU: want.MTU, Qlen: want.Qlen, Keepalive: told.PingInterval,
		Congestion: told.Congestion, ClientToClient: told.ClientToClient, Log: log,
		MaxConnections: told.MaxConnections, MaxPerAddress: told.MaxPerAddress, TrustedProxies: told.TrustedProxy,
		MaxLanes: told.MaxLanes, MaxMemory: memory, MaxSessions: told.MaxSessions, Sever: severing(log),
		ProxyHint: proxyHint,
	})
	if err != nil {
		return err
	}
	defer kept.control(c.Context, hub)()
	takePriority(log)
	return held.run(c.Context, func(ctx context.Context) error { return hub.Run(ctx, ln) })
}

// serveWant returns what a server's device has.
func serveWant(told *config.Serve) host.Want {
	pair, _ := lease.PairOf(told.Network, 0)
	return host.Pair(told.Dev, told.MTU, told.Qlen, pair.Local, pair.Peer, told.Network)
}
