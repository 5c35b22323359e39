package keep_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/sysctl"
)

// fake notes what a Keeper asks for.
type fake struct {
	overlap, set error
	taken        []netip.Prefix // that this machine has elsewhere
	asked        []string
	overlaps     int            // calls of Overlap
	routes       []netip.Prefix // of the last Apply
	want         host.Want      // of the last Apply
	names        dns.Config     // of the last Apply
}

func (f *fake) Overlap(_ context.Context, all ...netip.Prefix) error {
	f.overlaps++
	var found []route.OverlapError
	for _, n := range all {
		if slices.ContainsFunc(f.taken, n.Overlaps) {
			found = append(found, route.OverlapError{Network: n, Entry: "the route " + n.String()})
		}
	}
	if len(found) > 0 {
		return &route.OverlapError{Network: found[0].Network, Entry: found[0].Entry,
			More: found[1:]}
	}
	return f.overlap
}

func (f *fake) Apply(_ context.Context, w host.Want) error {
	f.asked = append(f.asked, "set")
	f.routes, f.want, f.names = w.Networks(), w, w.Names
	return f.set
}

func (f *fake) Withdraw(context.Context) error {
	f.asked = append(f.asked, "withdraw")
	return nil
}

func config() host.Want {
	return host.Want{Dev: "tun0", Routes: []host.Route{{Prefix: netip.MustParsePrefix("10.1.1.0/24")}}}
}

// A network that overlaps is withdrawn once, and comes back once.
func TestCheck(t *testing.T) {
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	if err := k.Check(t.Context()); err != nil || len(f.asked) != 0 {
		t.Errorf("before Set: %v, %q", err, f.asked)
	}
	if err := k.Set(t.Context(), config()); err != nil || !k.Has(config()) {
		t.Fatal(err)
	}
	f.overlap = &route.OverlapError{}
	for range 2 {
		if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) || k.Has(config()) {
			t.Errorf("overlaps: %v", err)
		}
	}
	f.overlap = nil
	if err := k.Check(t.Context()); err != nil || !k.Has(config()) {
		t.Error(err)
	}
	if want := []string{"set", "withdraw", "set"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked for %q, want %q", f.asked, want)
	}
	full, sealed := config(), config()
	full.Full.On, sealed.Firewall.KillSwitch = true, &firewall.KillSwitch{Mark: 1}
	for _, w := range []host.Want{full, sealed} { // of which something stays, to be renewed
		f.overlap = nil
		if err := k.Set(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		f.overlap, f.asked = &route.OverlapError{}, nil
		for range 3 {
			if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) {
				t.Errorf("overlaps: %v", err)
			}
		}
		if want := []string{"withdraw", "withdraw", "withdraw"}; !slices.Equal(f.asked, want) {
			t.Errorf("asked for %q, want %q", f.asked, want)
		}
	}
	f.overlap = nil
	f.set = host.ErrGone
	if err := k.Check(t.Context()); !keep.Fatal(err) {
		t.Errorf("gone: %v", err)
	}
}

// Only what can be about the device or its network is looked at.
func TestConcerns(t *testing.T) {
	k := keep.New(&fake{}, 7, slog.New(slog.DiscardHandler))
	if k.Concerns(netwatch.Event{}) {
		t.Error("concerned before Set")
	}
	if err := k.Set(t.Context(), config()); err != nil {
		t.Fatal(err)
	}
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for name, test := range map[string]struct {
		event netwatch.Event
		want  bool
	}{
		"a file":     {netwatch.Event{Kind: netwatch.File}, true},
		"missed":     {netwatch.Event{}, true},
		"the device": {netwatch.Event{Kind: netwatch.Link, Link: 7}, true},
		"another":    {netwatch.Event{Kind: netwatch.Link, Link: 8}, false},
		"its address": {netwatch.Event{Kind: netwatch.Address, Family: netwatch.IPv4, Link: 7,
			Prefix: prefix("10.9.9.9/32")}, true},
		"address in it": {netwatch.Event{Kind: netwatch.Address, Family: netwatch.IPv4, Link: 8,
			Prefix: prefix("10.1.1.9/32")}, true},
		"address beside": {netwatch.Event{Kind: netwatch.Address, Family: netwatch.IPv4, Link: 8,
			Prefix: prefix("10.1.2.9/24")}, false},
		"larger network": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("10.0.0.0/8")}, true},
		"gateway in it": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("192.0.2.0/24"), Via: addr("10.1.1.9")}, true},
		"default route": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("0.0.0.0/0"), Link: 8}, false},
		"half of all": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("0.0.0.0/1"), Link: 8}, false},
		"another network": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("192.0.2.0/24")}, false},
		"default elsewhere": {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4,
			Prefix: prefix("0.0.0.0/0"), Link: 8, Table: 60}, true},
		"a rule":           {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4}, true},
		"an IPv6 rule":     {netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv6}, false},
		"a nexthop object": {netwatch.Event{Kind: netwatch.Route}, true},
		"forwarding":       {netwatch.Event{Kind: netwatch.Forwarding}, false},
	} {
		if got := k.Concerns(test.event); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	gateway := config()
	gateway.Sysctls = []sysctl.Setting{{Name: sysctl.Forwarding, Dev: "eth0"}}
	if err := k.Set(t.Context(), gateway); err != nil {
		t.Fatal(err)
	}
	if !k.Concerns(netwatch.Event{Kind: netwatch.Forwarding}) {
		t.Error("a gateway is not concerned by forwarding")
	}
}

// Of the routes beside the Want's each stands for itself: one that overlaps is left out, and comes
// back, and takes nothing with it.
func TestSetMore(t *testing.T) {
	var log bytes.Buffer
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.NewTextHandler(&log, nil)))
	var more []host.Route
	var want []netip.Prefix
	for i := range 200 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24)
		more = append(more, host.Route{Prefix: p, Via: netip.MustParseAddr("10.1.1.4")})
		want = append(want, p)
	}
	has := func(what string, want ...netip.Prefix) {
		t.Helper()
		want = append([]netip.Prefix{netip.MustParsePrefix("10.1.1.0/24")}, want...)
		if !slices.Equal(f.routes, want) {
			t.Errorf("%s: %v; want %v", what, f.routes, want)
		}
	}
	if err := k.SetMore(t.Context(), more, dns.Config{}); err != nil || len(f.asked) != 0 {
		t.Errorf("before Set: %v, %q", err, f.asked)
	}
	if err := k.Set(t.Context(), config()); err != nil {
		t.Fatal(err)
	}
	has("what was there before another Want")
	if err := k.SetMore(t.Context(), more, dns.Config{}); err != nil {
		t.Fatal(err)
	}
	has("all", want...)
	if !k.Has(config()) {
		t.Error("the Want is not what was set")
	}
	if err := k.Set(t.Context(), config()); err != nil {
		t.Fatal(err)
	}
	has("the same Want again", want...)

	f.taken = []netip.Prefix{want[7], want[150]}
	for range 2 {
		if err := k.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(want), func(p netip.Prefix) bool {
		return slices.Contains(f.taken, p)
	})
	has("without two", rest...)
	if n := strings.Count(log.String(), "not routed into the tunnel"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
	if !k.Concerns(netwatch.Event{Kind: netwatch.Route, Family: netwatch.IPv4, Prefix: want[7]}) {
		t.Error("not concerned by the end of an overlap")
	}
	f.taken = nil
	if err := k.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	has("all again", want...)
	if n := strings.Count(log.String(), "tunnel again"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}

	// An overlap of the Want itself withdraws all.
	f.taken = []netip.Prefix{netip.MustParsePrefix("10.1.1.0/25")}
	if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) {
		t.Error(err)
	}
	if err := k.SetMore(t.Context(), more[:1], dns.Config{}); err != nil ||
		f.asked[len(f.asked)-1] != "withdraw" {
		t.Errorf("%v, %q", err, f.asked)
	}
	f.taken = nil
	if err := k.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	has("back, with one", want[0])
	if err := k.SetMore(t.Context(), nil, dns.Config{}); err != nil {
		t.Fatal(err)
	}
	has("none")
}
