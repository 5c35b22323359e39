// Package observe shows how a run of serve or connect is: at the address of --metrics, and in the
// log.
package observe

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"

	"tunnel/admin/metrics"
	"tunnel/admin/status"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/transport"
)

// An Observer observes one run. Make it with New, begin with Hub or Client, and close it at the
// end.
type Observer struct {
	*metrics.Metrics // nil without --metrics

	ln     net.Listener    // nil without --metrics
	ctx    context.Context //nolint:containedctx // from New to Close
	cancel context.CancelFunc
	group  sync.WaitGroup
	log    *slog.Logger
}

// New returns the Observer of a run of that version, and listens at --metrics if that is given.
func New(ctx context.Context, this machine.Machine, version string,
	log *slog.Logger) (*Observer, error) {
	ln, err := this.ListenAt(ctx, invocation.FlagMetrics)
	if err != nil {
		return nil, err
	}
	o := &Observer{ln: ln, log: log}
	o.ctx, o.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if ln != nil {
		o.Metrics = metrics.New(version)
		if ln.Addr().Network() != "unix" && !invocation.IsLoopback(ln.Addr()) {
			log.Warn("--metrics: everyone who reaches this address reads how much is sent, and on a "+
				"server the names of tokens", "address", ln.Addr())
		}
	}
	return o, nil
}

// Hub begins to observe a server whose status ask returns. reachable returns why its clients cannot
// be reached, nil if they can. alive returns unless it is stuck.
func (o *Observer) Hub(ask func() status.Hub, reachable func() error, alive func()) {
	if o.Metrics != nil {
		o.Metrics.Hub(ask)
		o.serve(metrics.Program{Alive: alive, Ready: hubReady(reachable)})
	}
	o.group.Go(func() {
		report(o.ctx, func() counts {
			now := ask()
			return counts{"drops": now.Drops, "refused": now.Refused}
		}, o.log)
	})
}

// Client begins to observe a client whose status ask returns. alive returns unless it is stuck.
func (o *Observer) Client(ask func() status.Client, alive func()) {
	if o.Metrics != nil {
		o.Metrics.Client(ask)
		o.serve(metrics.Program{Alive: alive, Ready: func() error { return ask().Ready() }})
	}
	o.group.Go(func() {
		report(o.ctx, func() counts { return counts{"drops": ask().Drops} }, o.log)
	})
}

// hubReady returns what is asked often, and so does without a status of all clients.
func hubReady(reachable func() error) func() error {
	return func() error {
		var hub status.Hub
		if err := reachable(); err != nil {
			hub.Problem = err.Error()
		}
		return hub.Ready()
	}
}

// What may be the matter, as package status has it.
const (
	notYet       = "not connected yet"
	notConnected = "not connected"
	notReached   = "clients cannot be reached"
)

func (o *Observer) serve(p metrics.Program) {
	p.Ready = public(p.Ready)
	o.group.Go(func() { o.Serve(o.ctx, o.ln, p, o.log) })
}

// public returns ready with one of a few errors: what is the matter, of a client at which step, and
// no more. Everybody may ask, and the whole has addresses, and words of the other side.
func public(ready func() error) func() error {
	return func() error {
		err := ready()
		if err == nil {
			return nil
		}
		what, why, _ := strings.Cut(err.Error(), ": ")
		step, _, _ := strings.Cut(why, ":")
		switch {
		case !slices.Contains([]string{notYet, notConnected, notReached}, what):
			what = "not ready"
		case slices.Contains(transport.Steps(), transport.Step(step)):
			what += ": " + step
		}
		return errors.New(what + ": see `tunnel status`")
	}
}

// Close ends what New, Hub and Client have begun.
func (o *Observer) Close() {
	o.cancel()
	o.group.Wait()
	if o.ln != nil {
		_ = o.ln.Close() // Serve has done so, if it ran
	}
}
