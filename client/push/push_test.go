package push

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/policy"
	"tunnel/transport"
)

// An update that is not newer than the last, from whichever connection it comes, is not taken.
func TestInbox(t *testing.T) {
	b := NewInbox()
	update := func(serial uint64, route string) transport.Update {
		return transport.Update{Serial: serial,
			Routes: []netip.Prefix{netip.MustParsePrefix(route)}}
	}
	for _, step := range []struct {
		put  transport.Update
		ring bool
		want uint64
	}{
		{update(5, "192.168.5.0/24"), true, 5},
		{update(5, "192.168.6.0/24"), false, 5},
		{update(4, "192.168.4.0/24"), false, 5},
		{update(9, "192.168.9.0/24"), true, 9},
		{update(8, "192.168.8.0/24"), false, 9},
	} {
		b.Put(step.put)
		select {
		case <-b.ring:
			if !step.ring {
				t.Errorf("%+v is taken", step.put)
			}
		default:
			if step.ring {
				t.Errorf("%+v is not taken", step.put)
			}
		}
		if got := b.take(); got.Serial != step.want ||
			got.Routes[0].Addr().As4()[2] != byte(step.want) {
			t.Errorf("the newest is %+v, want serial %d", got, step.want)
		}
	}
}

// keeper has what was set last.
type keeper struct {
	names dns.Config
	calls int
}

func (k *keeper) SetMore(_ context.Context, _ []host.Route, names dns.Config) error {
	k.names, k.calls = names, k.calls+1
	return nil
}

// Of the DNS servers in an update those are taken that lie in the tunnel's network, or in one that
// is taken. The others are told, once.
func TestNames(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	k := &keeper{}
	var unreached [][]netip.Addr
	nameless := 0
	taker := &Taker{Keeper: k, AllNames: true, Log: slog.New(slog.DiscardHandler),
		Unreached: func(s []netip.Addr) { unreached = append(unreached, s) },
		Nameless:  func() { nameless++ }}
	rules := &policy.Client{Network: prefix("10.1.1.0/24")}
	u := transport.Update{Routes: []netip.Prefix{prefix("8.8.8.0/24"), prefix("192.168.7.0/24")},
		DNS: []netip.Addr{addr("192.168.7.53"), addr("8.8.8.8"), addr("10.1.1.1"),
			addr("10.1.1.1")},
		Domains: []string{"corp.example", "corp.example"}}
	want := dns.Config{Servers: []netip.Addr{addr("192.168.7.53"), addr("10.1.1.1")},
		Domains: []string{"corp.example"}, All: true}
	for range 2 {
		taker.apply(t.Context(), u, addr("10.1.1.4"), rules)
	}
	if !k.names.Equal(want) || k.calls != 1 || len(unreached) != 1 ||
		!slices.Equal(unreached[0], u.DNS[1:2]) {
		t.Errorf("%+v by %d calls, not %v", k.names, k.calls, unreached)
	}
	// Only the names change.
	u.DNS = u.DNS[2:3]
	taker.apply(t.Context(), u, addr("10.1.1.4"), rules)
	if !slices.Equal(k.names.Servers, u.DNS) {
		t.Errorf("%+v", k.names)
	}
	// In a full tunnel a public one is reached through it.
	rules.Public, u.DNS = true, []netip.Addr{addr("8.8.8.8")}
	taker.apply(t.Context(), u, addr("10.1.1.4"), rules)
	if !slices.Equal(k.names.Servers, u.DNS) || len(unreached) != 1 {
		t.Errorf("%+v, not %v", k.names, unreached)
	}
	if nameless != 0 {
		t.Error("names are said not to resolve")
	}
	for range 2 {
		taker.apply(t.Context(), transport.Update{}, addr("10.1.1.4"), rules)
	}
	if !k.names.IsZero() || nameless != 1 {
		t.Errorf("an update without DNS leaves %+v, told %d times", k.names, nameless)
	}
}

// What the server does not allow the client to offer is told, once.
func TestDisallowed(t *testing.T) {
	p := netip.MustParsePrefix
	var told [][]netip.Prefix
	taker := &Taker{Keeper: &keeper{}, Log: slog.New(slog.DiscardHandler),
		Offered:    []netip.Prefix{p("10.50.1.0/24"), p("192.168.2.0/24")},
		Disallowed: func(all []netip.Prefix) { told = append(told, all) }}
	rules := &policy.Client{Network: p("10.1.1.0/24")}
	for _, allowed := range [][]netip.Prefix{{p("10.50.0.0/16")}, {p("10.50.0.0/16")},
		{p("10.50.1.0/24"), p("192.168.0.0/16")}, {p("192.168.2.0/25")}} {
		taker.apply(t.Context(), transport.Update{Behind: allowed}, netip.Addr{}, rules)
	}
	if len(told) != 2 || !slices.Equal(told[0], taker.Offered[1:]) ||
		!slices.Equal(told[1], taker.Offered) {
		t.Errorf("told %v", told)
	}
}
