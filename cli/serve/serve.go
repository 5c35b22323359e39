// Package serve is the command `tunnel serve`.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/observe"
	"tunnel/cli/page"
	"tunnel/cli/priority"
	"tunnel/cli/reload"
	"tunnel/config"
	"tunnel/control"
	"tunnel/loglimit"
	"tunnel/server"
	"tunnel/server/networks"
	"tunnel/supervisor"
)

// Command returns the command.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the hub: create the network and admit clients",
		Description: "The first start makes a token, and without --plain, --tls-cert and --acme " +
			"a key of its own, and\n" +
			"prints the command that joins another machine; tunnel token makes more tokens. " +
			"Examples, the\n" +
			"last for use behind a proxy that ends TLS:\n\n" +
			"   sudo tunnel serve\n" +
			"   sudo tunnel serve --listen :443 --acme server.example.com\n" +
			"   sudo tunnel serve --plain --listen 127.0.0.1:8443 --public server.example.com " +
			"--trusted-proxy 127.0.0.1",
		Flags:           invocation.Flags(config.DefaultServe().Settings()),
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          serve,
	}
}

func serve(c *cli.Context) (err error) {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	i, err := invocation.New(c)
	if err != nil {
		return err
	}
	told, log := i.Serve, i.Log()
	i.Warn(log)
	if invocation.Worker(c) == nil {
		warnUnreached(told, log)
	}
	memory := serveMemory(told.MaxMemory)
	want := machine.ServeWant(told)
	if told.DryRun {
		// what the run would refuse
		if _, err := serverToken(i, log); err != nil {
			return err
		}
		if _, err := newServerTLS(i, log); err != nil {
			return err
		}
		return dryRun(c, i, want, log)
	}
	if invocation.Worker(c) == nil {
		watchJoinLine(invocation.Output(c), log)
	}
	this, err := machine.New(i, log)
	if this == nil {
		return err
	}
	defer func() { err = this.End(c.Err() != nil, err) }()
	secret, err := serverToken(i, log)
	if err != nil {
		return err
	}
	secure, err := newServerTLS(i, log)
	if err != nil {
		return err
	}
	// Before the state is touched: a user who may not create the device gets that error, and not
	// that a directory is missing.
	device, own, err := this.Device(c.Context)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	defer func() { _ = device.Close() }() // Run closes it too; this is for earlier failures
	// A worker cannot make it after State.
	socket, err := control.NewSocket()
	if err != nil {
		return err
	}
	defer socket.Close()
	dir, err := this.State(c.Context)
	if err != nil {
		return err
	}
	kept, err := openServerState(dir, told, secret, log)
	if err != nil {
		return err
	}
	defer kept.close()
	kept.listen(socket)
	tlsConfig, err := secure.open(dir)
	if err != nil {
		return err
	}
	limited := loglimit.New(log.Handler()) // for lines that clients can cause
	defer limited.Close()
	held, err := holdDevice(c.Context, own, want, slog.New(limited))
	if err != nil {
		return err
	}
	defer held.close()
	ln, err := this.Listen(c.Context)
	if err != nil {
		return err
	}
	observer, err := observe.New(c.Context, this, c.App.Version, slog.New(limited))
	if err != nil {
		return err
	}
	defer observer.Close()
	shown, err := page.Open(c.Context, this, told, secure.identity(tlsConfig), slog.New(limited))
	if err != nil {
		return err
	}
	defer shown.Close()
	trail := audit.Begin(told.Dev, this.Record, kept.entries(told), slog.New(limited))
	defer trail.Close()
	kept.record = trail.Record
	if tlsConfig == nil && !invocation.IsLoopback(ln.Addr()) {
		log.Warn(
			"ws:// without TLS: anyone on the path can read the token and the packets; put a " +
				"proxy with TLS in front")
	}
	if acmeElsewhere(told.ACME, ln.Addr()) {
		log.Info("--acme: the authority connects to port 443: give --listen :443, unless something "+
			"forwards that port to this one", "listen", ln.Addr())
	}
	_, _ = fmt.Fprintf(c.App.Writer, "listening on %s, network %s, dev %s, address %s peer %s\n",
		withZone(ln.Addr(), told.Listen), told.Network, want.Dev,
		want.Addresses[0].Local, want.Addresses[0].Peer)
	if err := printConnectLine(c.App.Writer, told, secure, kept, ln.Addr()); err != nil {
		return err
	}
	defer secure.keep(c.Context)()
	limitMemory(memory)
	duties := &machineNetworks{device: held, hops: own, told: told, want: want,
		log: slog.New(limited)}
	hub, err := server.New(server.Config{
		Device: device, Leases: kept.leases, Auth: kept.auth, TLS: tlsConfig, Path: told.Path,
		MTU: want.MTU, Qlen: want.Qlen, Keepalive: told.PingInterval,
		Congestion: told.Congestion, Version: c.App.Version, Log: log,
		TrustedProxies: told.TrustedProxy, MaxMemory: memory, Live: live(told),
		Machine:   networks.Hooks{Overlap: own.Overlap, Route: duties.set},
		Reachable: held.reachable, Sever: severing(log), ProxyHint: proxyHint,
		Admitted: observer.Admitted, Record: trail.Record,
	})
	if err != nil {
		return err
	}
	join := control.Join{URL: secure.url(ln.Addr(), told.Path), Pin: secure.pin}
	public := told.ReachesPublic() // what packets are judged by now
	reloader := reload.New(this, i, log, func(next *invocation.Invocation) (reload.Apply, error) {
		secret, err := serverToken(next, log)
		return func(ctx context.Context, by audit.Actor) error {
			trail.Record(audit.Entry{Event: audit.ConfigReloaded}.By(by))
			kept.reload(secret)
			failed := duties.reload(next.Serve)
			to := live(next.Serve)
			opens := to.Site.Public && !public
			if public = to.Site.Public; opens {
				to.Site.Public, public = false, false
			}
			done := hub.Change(to)
			shown.Reload(next.Serve)
			warnUnreached(next.Serve, log)
			err := applied(ctx, done, failed)
			if err == nil && opens { // not before the firewall guards it
				to.Site.Public, public = true, true
				done = hub.Change(to)
				err = applied(ctx, done, failed)
			}
			return err
		}, err
	})
	defer shown.Serve(c.Context, hub, joinShown(join, told.Path), trail.Recorder)()
	defer kept.control(c.Context, hub, control.Own{Join: join, Link: shown.Links(),
		Reloads: reloader.Reloads(), Export: kept.file.Export, Record: trail.Record})()
	defer reloader.Run(c.Context)()
	priority.Take(log)
	alive := func() { _, _ = hub.ListTokens() } // it takes the hub's locks
	this.Watch(c.Context, alive)
	observer.Hub(hub.Status, hub.Reachable, alive)
	this.Tell(supervisor.Listening)
	trail.Started()
	return held.run(c.Context, duties.again,
		func(ctx context.Context) error { return hub.Run(ctx, ln) })
}

// applyLimit is how long a reload waits until this machine and the clients know of it.
const applyLimit = 30 * time.Second

// applied waits until done is closed, and returns what failed returns then.
func applied(ctx context.Context, done <-chan struct{}, failed func() error) error {
	ctx, cancel := context.WithTimeout(ctx, applyLimit)
	defer cancel()
	select {
	case <-done:
		return failed()
	case <-ctx.Done():
		return errors.New("this machine does not go by it yet: see the log")
	}
}

// warnUnreached warns of DNS servers that clients do not reach.
func warnUnreached(told *config.Serve, log *slog.Logger) {
	if none := told.UnreachedDNS(); len(none) > 0 {
		log.Warn("clients do not reach all DNS servers through the tunnel: give --push-route with "+
			"their networks, unless their tokens have them", "dns", none)
	}
}

// live returns what of a configuration can change while the server runs.
func live(told *config.Serve) server.Live {
	return server.Live{
		MaxConnections: told.MaxConnections, MaxPerAddress: told.MaxPerAddress,
		MaxLanes: told.MaxLanes, MaxSessions: told.MaxSessions,
		Site: networks.Site{Push: told.PushRoute, Public: told.ReachesPublic(), DNS: told.DNS,
			Domains: told.DNSDomain, Together: told.ClientToClient},
	}
}

// proxyHint is the advice when a proxy that the server does not trust names a client.
const proxyHint = "if a proxy is in front, name it with --trusted-proxy"
