package site

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tunnel/firewall"
	"tunnel/route"
	"tunnel/sysctl"
)

// machine is how packets leave: 192.168.1.128 is its own address, and 172.16.0.0/12 not routed.
func machine(a netip.Addr) (route.NextHop, error) {
	switch {
	case a == netip.MustParseAddr("192.168.1.128"):
		return route.NextHop{Dev: "lo"}, nil
	case netip.MustParsePrefix("192.168.0.0/16").Contains(a):
		return route.NextHop{Dev: "lan", Source: netip.MustParseAddr("192.168.0.9")}, nil
	case netip.MustParsePrefix("10.0.0.0/8").Contains(a):
		return route.NextHop{Dev: "dmz"}, nil
	}
	return route.NextHop{}, route.ErrNoRoute
}

func TestSite(t *testing.T) {
	p := netip.MustParsePrefix
	s := Site{Networks: []firewall.Map{
		{Here: p("192.168.1.0/24"), There: p("10.50.1.0/24")},
		{Here: p("192.168.2.0/24"), There: p("192.168.2.0/24")},
		{Here: p("10.7.0.0/16"), There: p("10.7.0.0/16")},
		{Here: p("172.16.0.0/24"), There: p("172.16.0.0/24")},
	}}
	if got, want := s.Advertised(), []netip.Prefix{p("10.50.1.0/24"), p("192.168.2.0/24"),
		p("10.7.0.0/16"), p("172.16.0.0/24")}; !slices.Equal(got, want) {
		t.Errorf("offers %v", got)
	}
	forward := func(dev string) sysctl.Setting {
		return sysctl.Setting{Name: sysctl.Forwarding, Dev: dev}
	}
	set, none := s.Settings("tun0", machine)
	if want := []sysctl.Setting{forward("tun0"), forward("dmz"), forward("lan")}; !slices.Equal(set,
		want) || !slices.Equal(none, []netip.Prefix{p("172.16.0.0/24")}) {
		t.Errorf("%v, none %v", set, none)
	}
	if err := s.Check("tun0", set[:2], machine); err != nil {
		t.Error(err)
	}
	for _, bad := range []sysctl.Setting{forward("eth0"), forward("lo"),
		{Name: sysctl.SrcValidMark, Dev: "lan"}} {
		if s.Check("tun0", []sysctl.Setting{bad}, machine) == nil {
			t.Errorf("%s is allowed", bad)
		}
	}
	want := firewall.Rules{Clamp: true, Maps: s.Networks[:1],
		Networks: []netip.Prefix{p("192.168.2.0/24"), p("10.7.0.0/16"), p("172.16.0.0/24")}}
	if got := s.Rules(); !got.Equal(want) {
		t.Errorf("%+v", got)
	}
	tunnel, said := p("10.1.1.0/24"), new(strings.Builder)
	log := slog.New(slog.NewTextHandler(said, nil))
	ways := s.Ways("tun0", tunnel, machine, Ways{}, log)
	if want := []string{"ip route add 10.1.1.0/24 via 192.168.0.9"}; !slices.Equal(ways.Back, want) ||
		!slices.Equal(ways.Forwarding, set) {
		t.Errorf("%+v", ways)
	}
	s.Ways("tun0", tunnel, machine, ways, log)
	if n := strings.Count(said.String(), "route_back="); n != 1 {
		t.Errorf("said %d times: %s", n, said)
	}
	s.Masquerade = true
	if ways := s.Ways("tun0", tunnel, machine, ways, log); ways.Back != nil {
		t.Errorf("with --masquerade %+v", ways)
	}
	want.Masquerade = append([]netip.Prefix{p("192.168.1.0/24")}, want.Networks...)
	if got := s.Rules(); !got.Equal(want) {
		t.Errorf("%+v", got)
	}
	if got := (Site{Masquerade: true}).Rules(); !got.IsZero() {
		t.Errorf("no site has %+v", got)
	}
	if set, none := (Site{}).Settings("tun0", machine); set != nil || none != nil {
		t.Errorf("no site has %v, %v", set, none)
	}
}
