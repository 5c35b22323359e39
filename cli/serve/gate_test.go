package serve

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"tunnel/config"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/server/networks"
	"tunnel/sysctl"
)

// hops is a machine with an office on lan0, a web server of its own, and the internet on wan0.
type hops struct{}

func (hops) NextHop(_ context.Context, server netip.AddrPort) (route.NextHop, error) {
	a, address := server.Addr(), netip.MustParseAddr
	switch {
	case a == address("192.168.9.1"):
		return route.NextHop{Dev: loopback, Source: a}, nil
	case netip.MustParsePrefix("192.168.0.0/16").Contains(a):
		return route.NextHop{Dev: "lan0", Source: address("192.168.7.1")}, nil
	case netip.MustParsePrefix("172.16.0.0/12").Contains(a):
		return route.NextHop{}, route.ErrNoRoute
	}
	return route.NextHop{Dev: "wan0", Gateway: address("203.0.113.254"),
		Source: address("203.0.113.1")}, nil
}

func TestGate(t *testing.T) {
	prefix := netip.MustParsePrefix
	const back = "ip route add 10.1.1.0/24 via 192.168.7.1"
	for name, test := range map[string]struct {
		change func(*config.Serve)
		pushed []netip.Prefix
		devs   []string
		want   gate
	}{
		"nothing": {},
		"an office": {pushed: []netip.Prefix{prefix("192.168.7.0/24"), prefix("192.168.8.0/24")},
			devs: []string{"tun0", "lan0"}, want: gate{back: []string{back}}},
		"its own address": {pushed: []netip.Prefix{prefix("192.168.9.1/32")}, devs: []string{"tun0"}},
		"no route": {pushed: []netip.Prefix{prefix("172.16.0.0/24")}, devs: []string{"tun0"},
			want: gate{noWay: []netip.Prefix{prefix("172.16.0.0/24")}}},
		"by the default gateway": {pushed: []netip.Prefix{prefix("10.7.0.0/24")},
			devs: []string{"tun0", "wan0"},
			want: gate{back: []string{"ip route add 10.1.1.0/24 via 203.0.113.1"},
				byGateway: []netip.Prefix{prefix("10.7.0.0/24")}}},
		"a token's public network": {pushed: []netip.Prefix{prefix("8.8.8.0/24")},
			want: gate{closed: []netip.Prefix{prefix("8.8.8.0/24")}}},
		"everything": {func(s *config.Serve) { s.Masquerade = true },
			[]netip.Prefix{prefix("192.168.7.0/24")}, []string{"tun0", "lan0", "wan0"}, gate{}},
		"a part": {func(s *config.Serve) {
			s.Masquerade, s.MasqueradeOnly = true, []netip.Prefix{prefix("192.168.8.0/23")}
		}, []netip.Prefix{prefix("192.168.7.0/24"), prefix("192.168.8.0/24")},
			[]string{"tun0", "lan0"}, gate{back: []string{back}}},
		"all of a part": {func(s *config.Serve) {
			s.Masquerade, s.MasqueradeOnly = true, []netip.Prefix{prefix("192.168.8.0/23")}
		}, []netip.Prefix{prefix("192.168.8.0/24")}, []string{"tun0", "lan0"}, gate{}},
	} {
		told := config.DefaultServe()
		told.Dev = "tun0"
		if test.change != nil {
			test.change(told)
		}
		g := newGate(t.Context(), told, networks.Machine{Pushed: test.pushed}, hops{})
		var devs []string
		for _, s := range g.sysctls {
			if s.Name != sysctl.Forwarding {
				t.Errorf("%s: %s", name, s)
			}
			devs = append(devs, s.Dev)
		}
		if !slices.Equal(devs, test.devs) || g.rules.IsZero() != (len(test.devs) == 0) {
			t.Errorf("%s: forwarding on %q; want %q; %+v", name, devs, test.devs, g.rules)
		}
		if !slices.Equal(g.back, test.want.back) || !slices.Equal(g.noWay, test.want.noWay) ||
			!slices.Equal(g.byGateway, test.want.byGateway) ||
			!slices.Equal(g.closed, test.want.closed) {
			t.Errorf("%s: %+v; want %+v", name, g, test.want)
		}
		if err := g.rules.Check(told.Dev, told.MTU); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Changes that may lead packets to a network by another interface have it looked up again.
func TestLeads(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	hosts := []netip.Addr{netip.MustParseAddr("192.168.7.128")}
	for name, test := range map[string]struct {
		event netwatch.Event
		want  bool
	}{
		"its route": {netwatch.Event{Kind: netwatch.Route, Prefix: networks[0]}, true},
		"a part": {netwatch.Event{Kind: netwatch.Route,
			Prefix: netip.MustParsePrefix("192.168.7.8/29")}, true},
		"the default route": {netwatch.Event{Kind: netwatch.Route,
			Prefix: netip.MustParsePrefix("0.0.0.0/0")}, true},
		"another route": {netwatch.Event{Kind: netwatch.Route,
			Prefix: netip.MustParsePrefix("192.168.8.0/24")}, false},
		"missed":     {netwatch.Event{Kind: netwatch.Missed}, true},
		"forwarding": {netwatch.Event{Kind: netwatch.Forwarding}, false},
		"a file":     {netwatch.Event{Kind: netwatch.File}, false},
	} {
		if got := leads(test.event, networks, hosts); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		if leads(test.event, nil, nil) {
			t.Errorf("%s without networks", name)
		}
	}
}
