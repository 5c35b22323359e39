package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"tunnel/config"
	"tunnel/ipcmd"
	"tunnel/lease"
	"tunnel/route"
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
	want := serveConfig(told)
	if told.DryRun {
		return route.New(ipcmd.DryRun{W: c.App.Writer}, nil, nil, nil).Set(c.Context, want)
	}
	if workerOf(c) == nil {
		outputOf(c).watchJoinLine(log)
	}
	host, err := newHost(i, log)
	if host == nil {
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
	device, router, err := host.Device(c.Context)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, router.Close()) }()
	defer func() { _ = device.Close() }() // Run closes it too; this is for failures before
	dir, err := host.State(c.Context)
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
	held, err := holdDevice(c.Context, router, want, log)
	if err != nil {
		return err
	}
	defer held.close()
	ln, err := host.Listen(c.Context)
	if err != nil {
		return err
	}
	if tlsConfig == nil && !isLoopback(ln.Addr()) {
		log.Warn("ws:// without TLS: everybody on the way can read the token and the packets; put a proxy with TLS in front")
	}
	_, _ = fmt.Fprintf(c.App.Writer, "listening on %s, network %s, dev %s, address %s peer %s\n",
		withZone(ln.Addr(), told.Listen), want.Network, want.Dev, want.Local, want.Peer)
	if err := printConnectLine(c.App.Writer, told, secure, kept, ln.Addr()); err != nil {
		return err
	}
	defer secure.keep(c.Context)()
	limitMemory(memory)
	hub := server.New(server.Config{
		Device: device, Leases: kept.leases, Tokens: kept.tokens, TLS: tlsConfig, Path: told.Path,
		MTU: want.MTU, Qlen: want.Qlen, Keepalive: told.PingInterval,
		Congestion: told.Congestion, ClientToClient: told.ClientToClient, Log: log,
		MaxConnections: told.MaxConnections, MaxPerAddress: told.MaxPerAddress, TrustedProxies: told.TrustedProxy,
		MaxLanes: told.MaxLanes, MaxMemory: memory, MaxSessions: told.MaxSessions, Sever: severing(log),
	})
	defer kept.control(c.Context, hub)()
	takePriority(log)
	return held.run(c.Context, func(ctx context.Context) error { return hub.Run(ctx, ln) })
}

// serveConfig returns what a server's device has.
func serveConfig(told *config.Serve) route.Config {
	pair, _ := lease.PairOf(told.Network, 0)
	return route.Config{
		Dev: told.Dev, MTU: told.MTU, Qlen: told.Qlen, Local: pair.Local, Peer: pair.Peer, Network: told.Network,
	}
}
