package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"tunnel/cli/machine"
	"tunnel/client"
	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/sysctl"
)

// heldDevice is a server's device. Changes by others are undone while the server runs.
type heldDevice struct {
	keeper  *keep.Keeper
	network client.Network // nil if changes cannot be watched
	log     *slog.Logger

	mu        sync.Mutex
	networks  []netip.Prefix // guarded by mu, as all below; networks behind this machine
	hosts     []netip.Addr   // in these, and in the internet
	disturbed error          // why clients cannot be reached, nil if they can
}

// holdDevice configures the device. The caller closes the result.
func holdDevice(ctx context.Context, router keep.Router, want host.Want,
	log *slog.Logger) (*heldDevice, error) {
	index := 0
	if link, err := net.InterfaceByName(want.Dev); err == nil {
		index = link.Index
	}
	held := &heldDevice{keeper: keep.New(router, index, log), network: machine.WatchNetwork(log),
		log: log}
	if err := held.keeper.Set(ctx, want); err != nil {
		held.close()
		return nil, err
	}
	held.limit()
	return held, nil
}

// limit has only those changes watched that may concern the device.
func (h *heldDevice) limit() {
	if h.network == nil {
		return
	}
	limits := h.keeper.Limits()
	h.mu.Lock()
	limits.Networks = slices.Concat(limits.Networks, h.networks)
	limits.Hosts = h.hosts
	h.mu.Unlock()
	if err := h.network.Limit(&limits); err != nil {
		h.log.Debug("this machine is watched as a whole", "err", err)
	}
}

// more makes routes those that the device has beside that to the private network, as far as they
// overlap nothing.
func (h *heldDevice) more(ctx context.Context, routes []host.Route) error {
	err := h.keeper.SetMore(ctx, routes, dns.Config{})
	h.limit()
	return err
}

// forward makes rules and sysctls those of the device.
func (h *heldDevice) forward(ctx context.Context, rules firewall.Rules,
	sysctls []sysctl.Setting) error {
	return h.keeper.SetForwarding(ctx, rules, sysctls)
}

// watch has run call its again when the path to one of the networks or hosts may have changed.
func (h *heldDevice) watch(networks []netip.Prefix, hosts []netip.Addr) {
	h.mu.Lock()
	same := slices.Equal(networks, h.networks) && slices.Equal(hosts, h.hosts)
	h.networks, h.hosts = networks, hosts
	h.mu.Unlock()
	if !same {
		h.limit()
	}
}

// leads reports whether e may have changed the path to what is watched.
func (h *heldDevice) leads(e netwatch.Event) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return leads(e, h.networks, h.hosts)
}

func (h *heldDevice) close() {
	if h.network != nil {
		_ = h.network.Close()
	}
}

// run runs serve, and ends it with an error when the device is lost. It calls again when the path
// to what is watched may have changed.
func (h *heldDevice) run(ctx context.Context, again func(context.Context),
	serve func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	defer group.Wait()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	look := func(ctx context.Context) bool { return h.look(ctx, cancel) }
	group.Go(func() { h.keeper.Again(watching, look) })
	if h.network != nil {
		group.Go(func() { h.follow(watching, again, look) })
	}
	err := serve(ctx)
	if cause := context.Cause(ctx); err == nil && keep.Fatal(cause) {
		err = cause
	}
	return err
}

// follow calls look and again when something has changed that concerns them, until ctx ends.
func (h *heldDevice) follow(ctx context.Context, again func(context.Context),
	look func(context.Context) bool) {
	var moved atomic.Bool
	concerns := func(e netwatch.Event) bool {
		if h.leads(e) {
			moved.Store(true)
			return true
		}
		return h.keeper.Concerns(e)
	}
	keep.Follow(ctx, h.network, concerns, func() bool {
		if moved.Swap(false) {
			again(ctx)
		}
		return look(ctx)
	}, func(err error) { h.log.Warn("the network is not watched any more", "err", err) })
}

// look restores what others have changed of the device, and calls lost if it is lost. It returns
// false if it must be called again after a pause.
func (h *heldDevice) look(ctx context.Context, lost func(error)) bool {
	err := h.keeper.Check(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		if errors.Is(h.disturbed, route.ErrNotUsed) { // of ErrOverlap the keeper tells
			h.log.Info("clients can be reached again")
		}
		h.disturbed = nil
	case ctx.Err() != nil:
	case errors.Is(err, route.ErrOverlap):
		h.disturbed = err
	case keep.Fatal(err):
		lost(err)
	case errors.Is(err, route.ErrNotUsed):
		h.disturbed = err
		h.log.Warn("clients cannot be reached", "err", err)
	default:
		h.log.Warn("the device is not as it should be", "err", err)
		return false
	}
	return true
}

// reachable returns why clients cannot be reached, nil if they can.
func (h *heldDevice) reachable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disturbed
}
