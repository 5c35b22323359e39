package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/lease"
	"tunnel/route"
	"tunnel/server"
	"tunnel/transport"
)

const (
	flagListen         = "listen"
	flagPath           = "path"
	flagNetwork        = "network"
	flagInsecureNoAuth = "insecure-no-auth"
	flagClientToClient = "client-to-client"
	flagPingInterval   = "ping-interval"
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
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: flagListen, Category: categoryServer, EnvVars: env(flagListen), Value: ":8443", Usage: "`ADDRESS` to listen on, [HOST]:PORT; HOST is an IP address"},
			&cli.StringFlag{Name: flagPath, Category: categoryServer, EnvVars: env(flagPath), Value: transport.DefaultPath, Usage: "`PATH` of the WebSocket; all else is 404"},
			&cli.BoolFlag{Name: flagInsecureNoAuth, Category: categoryServer, EnvVars: env(flagInsecureNoAuth), Usage: "let everybody in who can reach the port"},
			&cli.DurationFlag{Name: flagPingInterval, Category: categoryServer, EnvVars: env(flagPingInterval), Value: 20 * time.Second, Usage: "`TIME` between signs of life; a side that is silent for two of them is gone"},
			&cli.StringFlag{Name: flagNetwork, Category: categoryNetwork, EnvVars: env(flagNetwork), Value: "10.1.1.0/24", Usage: "private network, an IPv4 `PREFIX`"},
			&cli.BoolFlag{Name: flagClientToClient, Category: categoryNetwork, EnvVars: env(flagClientToClient), Usage: "let clients reach each other"},
			&cli.IntFlag{Name: flagMTU, Category: categoryNetwork, EnvVars: env(flagMTU), Value: 1400, Usage: "`BYTES` of the largest packet, also for clients"},
			&cli.IntFlag{Name: flagQlen, Category: categoryNetwork, EnvVars: env(flagQlen), Value: 100, Usage: "transmit queue length in `PACKETS`, also for clients"},
		}, serveTLSFlags(), limitFlags(), sessionFlags(), serveMemoryFlags(), serveLanesFlags(), commonFlags()),
		OnUsageError:    usageError,
		HideHelpCommand: true,
		Action:          serve,
	}
}

func serve(c *cli.Context) (err error) {
	log, err := logger(c)
	if err != nil {
		return err
	}
	network, err := serveUsage(c)
	if err != nil {
		return err
	}
	memory, err := serveMemory(c)
	if err != nil {
		return err
	}
	want := serveConfig(c, network)
	if c.Bool(flagDryRun) {
		return route.New(ipcmd.DryRun{W: c.App.Writer}, nil, nil, nil).Set(c.Context, want)
	}
	host, err := newHost(c, log)
	if host == nil {
		return err
	}
	secret, err := serverToken(c, log)
	if err != nil {
		return err
	}
	secure, err := newServerTLS(c, log)
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
	kept, err := openServerState(dir, network, c.Duration(flagLeaseHold), secret, c.Bool(flagInsecureNoAuth), log)
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
		ln.Addr(), network, want.Dev, want.Local, want.Peer)
	if err := printConnectLine(c.App.Writer, c, secure, kept, ln.Addr()); err != nil {
		return err
	}
	defer secure.keep(c.Context)()
	limitMemory(memory)
	hub := server.New(server.Config{
		Device: device, Leases: kept.leases, Tokens: kept.tokens, TLS: tlsConfig, Path: c.String(flagPath),
		MTU: want.MTU, Qlen: want.Qlen, Keepalive: c.Duration(flagPingInterval),
		Congestion: c.String(flagCongestion), ClientToClient: c.Bool(flagClientToClient), Log: log,
		MaxConnections: c.Int(flagMaxConnections), MaxPerAddress: c.Int(flagMaxPerAddress), TrustedProxies: trustedProxies(c), MaxLanes: c.Int(flagMaxLanes),
		MaxMemory: memory, MaxSessions: c.Int(flagMaxSessions), Sever: severing(log),
	})
	defer kept.control(c.Context, hub)()
	takePriority(log)
	return held.run(c.Context, func(ctx context.Context) error { return hub.Run(ctx, ln) })
}

// serveConfig returns what a server's device has.
func serveConfig(c *cli.Context, network netip.Prefix) route.Config {
	pair, _ := lease.PairOf(network, 0)
	return route.Config{
		Dev: c.String(flagDev), MTU: c.Int(flagMTU), Qlen: c.Int(flagQlen),
		Local: pair.Local, Peer: pair.Peer, Network: network,
	}
}

// serveUsage checks the flags that are about nothing but themselves.
func serveUsage(c *cli.Context) (netip.Prefix, error) {
	if err := errors.Join(noMore(c, 0), checkDevice(c, false), checkCongestion(c)); err != nil {
		return netip.Prefix{}, err
	}
	network, err := netip.ParsePrefix(c.String(flagNetwork))
	if err != nil {
		return netip.Prefix{}, usage("--network %s is not a prefix like 10.1.1.0/24", c.String(flagNetwork))
	}
	if err := lease.CheckNetwork(network); err != nil {
		return netip.Prefix{}, err
	}
	if !strings.HasPrefix(c.String(flagPath), "/") {
		return netip.Prefix{}, usage("--path %s does not begin with /", c.String(flagPath))
	}
	if d := c.Duration(flagPingInterval); d < transport.MinKeepalive || d > transport.MaxKeepalive {
		return netip.Prefix{}, usage("--ping-interval %v is not within %v to %v", d, transport.MinKeepalive, transport.MaxKeepalive)
	}
	if err := errors.Join(checkLimits(c), checkSessions(c), checkLanes(c, flagMaxLanes)); err != nil {
		return netip.Prefix{}, err
	}
	if _, err := listenAddress(c.Context, c.String(flagListen)); err != nil {
		return netip.Prefix{}, err
	}
	return network, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	// Sessions have signs of life of their own; the kernel's would cost each connection four system calls, also those that are
	// turned away.
	ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fail(stepListen, fmt.Errorf("%s is in use", address), "end what listens there, or choose another --listen")
	case errors.Is(err, unix.EACCES):
		return nil, fail(stepListen, fmt.Errorf("%s is not allowed", address), "ports below 1024 need root or CAP_NET_BIND_SERVICE")
	case err != nil:
		return nil, fail(stepListen, err, "choose another --listen")
	}
	return ln, nil
}

func isLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
