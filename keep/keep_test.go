package keep_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"tunnel/host"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
)

// fake notes what a Keeper asks for.
type fake struct {
	overlap, set error
	asked        []string
}

func (f *fake) Overlap(context.Context, ...netip.Prefix) error { return f.overlap }

func (f *fake) Apply(context.Context, host.Want) error {
	f.asked = append(f.asked, "set")
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
	} {
		if got := k.Concerns(test.event); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
