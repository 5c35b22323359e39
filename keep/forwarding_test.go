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
	"tunnel/sysctl"
)

// Forwarding is maintained with the routes, also when it is set while the Want is withdrawn.
func TestSetForwarding(t *testing.T) {
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	rules := firewall.Rules{Networks: []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}}
	sysctls := []sysctl.Setting{{Name: sysctl.Forwarding, Dev: "eth0"}}
	if err := k.SetForwarding(t.Context(), rules, sysctls); err != nil || len(f.asked) != 0 {
		t.Errorf("before Set: %v, %q", err, f.asked)
	}
	more := []host.Route{{Prefix: netip.MustParsePrefix("172.16.0.0/24")}}
	if err := errors.Join(k.Set(t.Context(), config()), k.SetMore(t.Context(), more, dns.Config{}),
		k.SetForwarding(t.Context(), rules, sysctls)); err != nil {
		t.Fatal(err)
	}
	has := func(what string) {
		t.Helper()
		if len(f.routes) != 2 || !f.want.Firewall.Equal(rules) ||
			!slices.Equal(f.want.Sysctls, sysctls) {
			t.Errorf("%s: %+v", what, f.want)
		}
	}
	has("set")
	if err := k.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	has("checked")
	f.overlap = &route.OverlapError{}
	if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) {
		t.Error(err)
	}
	rules.Clamp = true
	if err := k.SetForwarding(t.Context(), rules, sysctls); err != nil ||
		f.asked[len(f.asked)-1] != "withdraw" {
		t.Errorf("%v, %q", err, f.asked)
	}
	f.overlap = nil
	if err := k.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	has("back")
}
