package client

import (
	"context"
	"slices"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/netwatch"
)

// holds says that the keeper has another Want.
func (m *pathMonitor) holds() {
	device := m.keeper.Limits()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.device = device
	m.limit()
}

// SetMore implements push.Keeper.
func (m *pathMonitor) SetMore(ctx context.Context, routes []host.Route,
	names dns.Config) error {
	err := m.keeper.SetMore(ctx, routes, names)
	m.holds()
	return err
}

// limit tells the network what can concern this client: everything while paths are looked for. The
// caller holds mu.
func (m *pathMonitor) limit() {
	if m.network == nil {
		return
	}
	var limits *netwatch.Limits
	if m.end == nil && len(m.nextHops) > 0 {
		limits = &netwatch.Limits{
			Networks: m.device.Networks, Hosts: slices.Clone(m.device.Hosts),
			Links: slices.Clone(m.device.Links),
		}
		for hop, known := range m.nextHops {
			limits.Hosts = append(limits.Hosts, hop.WithZone(""))
			if known.Gateway.IsValid() {
				limits.Hosts = append(limits.Hosts, known.Gateway.WithZone(""))
			}
			if known.Dev != "" {
				limits.Links = append(limits.Links, known.Index)
			}
		}
		for _, conn := range m.conns {
			limits.Hosts = append(limits.Hosts, conn.Local().WithZone(""))
		}
	}
	if err := m.network.Limit(limits); err != nil {
		m.log.Debug("this machine is watched as a whole", "err", err)
	}
}
