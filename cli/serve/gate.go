package serve

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"tunnel/cli/failure"
	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/firewall"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/server/networks"
	"tunnel/sysctl"
)

// gate is how a server's machine forwards packets of clients.
type gate struct {
	rules   firewall.Rules
	sysctls []sysctl.Setting
	// routes that hosts in networks behind this machine need, as `ip` commands; sorted
	back      []string
	noWay     []netip.Prefix // to which this machine has no route
	byGateway []netip.Prefix // to which packets leave as those to public addresses do
	closed    []netip.Prefix // that are pushed, and not forwarded to
}

func (g gate) equal(other gate) bool {
	return g.rules.Equal(other.rules) && slices.Equal(g.sysctls, other.sysctls) &&
		slices.Equal(g.back, other.back) && slices.Equal(g.noWay, other.noWay) &&
		slices.Equal(g.byGateway, other.byGateway) && slices.Equal(g.closed, other.closed)
}

// hopper returns how packets leave this machine, see host.Host.NextHop.
type hopper interface {
	NextHop(ctx context.Context, server netip.AddrPort) (route.NextHop, error)
}

// loopback is the interface of this machine's own addresses.
const loopback = "lo"

// maxForwarded is how many networks a firewall may have, beside the server's own.
const maxForwarded = 1023

// newGate returns the gate to networks behind this machine that are pushed.
func newGate(ctx context.Context, told *config.Serve, to networks.Machine, hops hopper) (g gate) {
	var networks []netip.Prefix
	for _, n := range to.Pushed {
		if machine.CanForward(told, n) && len(networks) < maxForwarded {
			networks = append(networks, n)
		} else {
			g.closed = append(g.closed, n)
		}
	}
	g.rules = machine.ForwardRules(told, networks, to.Owned)
	devices := map[string]bool{}
	lookUp := func(a netip.Addr) (hop route.NextHop, ok bool) {
		hop, err := hops.NextHop(ctx, netip.AddrPortFrom(a, 0))
		if err == nil && hop.Dev != loopback && hop.Dev != told.Dev {
			devices[hop.Dev] = true
		}
		return hop, err == nil
	}
	gateway := sync.OnceValue(func() netip.Addr { // that of packets to public addresses
		hop, _ := hops.NextHop(ctx, netip.AddrPortFrom(route.Samples()[0], 0))
		return hop.Gateway
	})
	for _, n := range networks {
		hop, ok := lookUp(inside(n))
		if ok && hop.Gateway.IsValid() && hop.Gateway == gateway() {
			g.byGateway = append(g.byGateway, n)
		}
		switch {
		case !ok:
			g.noWay = append(g.noWay, n)
		case hop.Dev != loopback && hop.Source.IsValid() && !told.MasqueradesTo(n):
			g.back = append(g.back, fmt.Sprintf("ip route add %s via %s", told.Network, hop.Source))
		}
	}
	if told.ReachesPublic() {
		for _, a := range route.Samples() {
			lookUp(a)
		}
	}
	slices.Sort(g.back)
	g.back = slices.Compact(g.back)
	if g.rules.IsZero() {
		return g
	}
	names := []string{told.Dev}
	for dev := range devices {
		names = append(names, dev)
	}
	slices.Sort(names[1:])
	for _, dev := range names {
		g.sysctls = append(g.sysctls, sysctl.Setting{Name: sysctl.Forwarding, Dev: dev})
	}
	return g
}

// inside returns an address in the middle of a network: the first and the last of one may be
// broadcast addresses.
func inside(n netip.Prefix) netip.Addr {
	a := n.Addr().As4()
	if bits := n.Bits(); bits < 31 {
		a[bits/8] |= 0x80 >> (bits % 8)
	}
	return netip.AddrFrom4(a)
}

// forward has this machine forward packets between clients and networks that are pushed, and says
// what hosts there need. The caller holds mu.
func (m *machineNetworks) forward(ctx context.Context, to networks.Machine) {
	m.done.Pushed, m.done.Owned = to.Pushed, to.Owned
	now := newGate(ctx, m.told, to, m.hops)
	if ctx.Err() != nil {
		return
	}
	m.watch(to.Pushed)
	if m.failed == "" && now.equal(m.gate) {
		return
	}
	err := m.open(ctx, now)
	if ctx.Err() != nil {
		return
	}
	m.say(now, err)
	m.gate = now
}

// open sets the gate, as far as this machine allows: without forwarding of its own if that cannot
// be set, and then, unless it masquerades, without a firewall. The error is the first.
func (m *machineNetworks) open(ctx context.Context, now gate) error {
	first := m.device.forward(ctx, now.rules, now.sysctls)
	if first == nil || keep.Fatal(first) || ctx.Err() != nil {
		return first
	}
	err := m.device.forward(ctx, now.rules, nil)
	if err != nil && ctx.Err() == nil && !m.told.Masquerade {
		_ = m.device.forward(ctx, firewall.Rules{}, nil) // as before
	}
	return first
}

// say logs what is forwarded and what is missing, if that is new. The caller holds mu.
func (m *machineNetworks) say(now gate, err error) {
	if len(now.closed) > 0 && !slices.Equal(now.closed, m.gate.closed) {
		m.log.Warn("this machine does not forward to some networks of tokens: a public one has to be "+
			"named to the server, too, with --push-route", "networks", now.closed,
			"most", maxForwarded)
	}
	if err != nil {
		why := failure.Of(err)
		if text := why.Error(); text != m.failed {
			m.failed = text
			m.log.Warn("this machine does not forward packets of clients unless something else has it "+
				"do so", append([]any{"networks", m.done.Pushed, "err", why.Err}, why.AdviceAttr()...)...)
		}
	} else {
		m.failed = ""
	}
	if now.equal(m.gate) || now.rules.IsZero() {
		return
	}
	log := m.log.With("networks", now.rules.Networks, "public", now.rules.Public,
		"masquerade", m.told.Masquerade)
	if len(now.noWay) > 0 {
		log = log.With("no_route_to", now.noWay)
	}
	if len(now.byGateway) > 0 { // right if that router knows them; else a route is missing here
		log = log.With("by_default_gateway", now.byGateway)
	}
	if len(now.back) > 0 {
		log.Info("clients may reach networks behind this machine, whose hosts, or their router, need "+
			"a route back", "route_back", strings.Join(now.back, ", "))
		return
	}
	log.Info("clients may reach networks behind this machine")
}

// again opens the gate anew after a change of this machine's routes.
func (m *machineNetworks) again(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forward(ctx, m.done)
}

// watch has changes reported that may lead packets to networks by another interface.
func (m *machineNetworks) watch(pushed []netip.Prefix) {
	var hosts []netip.Addr
	for _, n := range pushed {
		hosts = append(hosts, inside(n))
	}
	if m.told.ReachesPublic() {
		hosts = append(hosts, route.Samples()...)
	}
	m.device.watch(pushed, hosts)
}

// leads reports whether e may lead packets to one of the networks or hosts by another interface.
func leads(e netwatch.Event, networks []netip.Prefix, hosts []netip.Addr) bool {
	if len(hosts) == 0 || e.Family == netwatch.IPv6 {
		return false
	}
	switch e.Kind {
	case netwatch.Missed:
		return true
	case netwatch.Route:
		return !e.Prefix.IsValid() || slices.ContainsFunc(hosts, e.Prefix.Contains) ||
			slices.ContainsFunc(networks, e.Prefix.Overlaps)
	}
	return false
}
