package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/host"
	"tunnel/server/networks"
)

// machineNetworks does on this machine what a hub's networks need. Its methods may be called
// concurrently.
type machineNetworks struct {
	device *heldDevice
	hops   hopper
	want   host.Want // of the device
	log    *slog.Logger

	mu     sync.Mutex    // held while the machine is changed
	told   *config.Serve // guarded by mu, as all below
	done   networks.Machine
	opened bool   // the gate was
	gate   gate   // to done.Pushed
	failed string // why not all of it is set, as logged; "" if it is
}

// set routes the networks behind clients into the device, and has packets forwarded to those behind
// this machine.
func (m *machineNetworks) set(ctx context.Context, now networks.Machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(now.Behind, m.done.Behind) {
		m.routeBehind(ctx, now.Behind)
	}
	m.done.Behind = now.Behind
	// The paths to hundreds of networks take seconds to find: not for what only clients change.
	if !m.opened || m.failed != "" || !slices.Equal(now.Pushed, m.done.Pushed) ||
		!slices.Equal(now.Owned, m.done.Owned) {
		m.forward(ctx, now)
	}
	m.opened = ctx.Err() == nil
}

// reload has the next call of set go by another configuration, whatever it is called for. After
// that failed returns why what is new does not hold, nil if it does.
func (m *machineNetworks) reload(told *config.Serve) (failed func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, was := m.gate, m.failed
	m.told, m.opened = told, false
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		// What has failed before may be done by something else, but for masquerading.
		known := m.failed == was && m.gate.equal(before) && !m.told.Masquerade
		if m.failed == "" || known {
			return nil
		}
		return errors.New(m.failed)
	}
}

// maxRouted bounds the routes: a Want has to fit into a message between the processes.
const maxRouted = 1024

// routeBehind routes networks behind clients into the device.
func (m *machineNetworks) routeBehind(ctx context.Context, behind []netip.Prefix) {
	routes, public := routesBehind(m.want, behind)
	public = slices.DeleteFunc(public,
		func(n netip.Prefix) bool { return slices.Contains(m.done.Behind, n) })
	if len(public) > 0 {
		m.log.Warn("networks behind clients are not routed from this machine: they are not private "+
			"ones; other clients reach them", "networks", public)
	}
	if len(routes) > maxRouted {
		m.log.Warn("some networks behind clients are not routed from this machine: there are too many",
			"networks", len(routes), "most", maxRouted)
		routes = routes[:maxRouted]
	}
	if err := m.device.more(ctx, routes); err != nil && ctx.Err() == nil {
		m.log.Warn("networks behind clients are not all routed from this machine", "err", err)
		return
	}
	m.log.Info("networks behind clients", "networks", behind)
}

// routesBehind returns the routes to networks behind clients into a device, and those networks that
// are not routed because they are not private.
func routesBehind(device host.Want, behind []netip.Prefix) (all []host.Route,
	public []netip.Prefix) {
	for _, n := range behind {
		if machine.CanRoute(device.Routes[0].Prefix, n) {
			all = append(all, host.Route{Prefix: n, Via: device.Addresses[0].Peer})
		} else {
			public = append(public, n)
		}
	}
	return all, public
}
