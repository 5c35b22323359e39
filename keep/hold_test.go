package keep_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/route"
)

// What this machine has elsewhere cannot be found out: what a full tunnel refuses is renewed all
// the same, also while it is withdrawn, and the error is returned. A Want that is not there yet is
// not made.
func TestHold(t *testing.T) {
	unknown := errors.New("open /etc/resolv.conf: permission denied")
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	full := config()
	full.Full.On = true
	full.Firewall.KillSwitch = &firewall.KillSwitch{Mark: 1}
	a, b := netip.MustParsePrefix("172.16.1.0/24"), netip.MustParsePrefix("172.16.2.0/24")
	f.taken = []netip.Prefix{b}
	if err := errors.Join(k.Set(t.Context(), full), k.SetMore(t.Context(),
		[]host.Route{{Prefix: a}, {Prefix: b}}, dns.Config{})); err != nil {
		t.Fatal(err)
	}
	f.taken, f.overlap = nil, unknown
	for range 2 {
		f.asked, f.routes = nil, nil
		if err := k.Check(t.Context()); !errors.Is(err, unknown) || keep.Fatal(err) {
			t.Errorf("unknown: %v", err)
		}
		want := []netip.Prefix{full.Routes[0].Prefix, a}
		if !slices.Equal(f.asked, []string{"set"}) || !slices.Equal(f.routes, want) {
			t.Errorf("asked for %q with %v; want one Apply with %v", f.asked, f.routes, want)
		}
	}
	f.asked = nil
	if err := k.Set(t.Context(), config()); !errors.Is(err, unknown) || len(f.asked) > 0 {
		t.Errorf("another Want: %v, asked for %q", err, f.asked)
	}
	f.set = host.ErrGone
	if err := k.Check(t.Context()); !keep.Fatal(err) {
		t.Errorf("the device is gone: %v", err)
	}
	f.set, f.overlap, f.asked = nil, &route.OverlapError{}, nil
	if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) {
		t.Errorf("overlaps: %v", err)
	}
	f.overlap = unknown
	if err := k.Check(t.Context()); !errors.Is(err, unknown) {
		t.Errorf("unknown while withdrawn: %v", err)
	}
	if want := []string{"withdraw", "withdraw"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked for %q, want %q", f.asked, want)
	}
	f.overlap = nil
	if err := k.Check(t.Context()); err != nil || !k.Has(full) {
		t.Errorf("known again: %v", err)
	}
}
