package keep_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/route"
)

// RoutesSet is told of the routes that are made, and not of those that overlap. However many these
// are, one question finds them.
func TestRoutesSet(t *testing.T) {
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	var told [][]netip.Prefix
	k.RoutesSet = func(networks []netip.Prefix) { told = append(told, networks) }
	var more []host.Route
	var networks []netip.Prefix
	for i := range 1024 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)
		more = append(more, host.Route{Prefix: p})
		networks = append(networks, p)
	}
	step := func(what string, do func() error, want ...[]netip.Prefix) {
		t.Helper()
		told, f.overlaps = nil, 0
		if err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if f.overlaps > 1 {
			t.Errorf("%s: %d questions", what, f.overlaps)
		}
		if !slices.EqualFunc(told, want, slices.Equal) {
			t.Errorf("%s: told %v; want %v", what, told, want)
		}
	}
	check := func() error { return k.Check(t.Context()) }
	step("set", func() error { return k.Set(t.Context(), config()) })
	f.taken = []netip.Prefix{networks[3]}
	step("one overlaps", func() error { return k.SetMore(t.Context(), more, dns.Config{}) },
		slices.Concat(networks[:3], networks[4:]))
	step("as before", check)
	f.taken = networks
	step("all overlap", check, nil)
	f.taken = nil
	step("none overlaps", check, networks)
	f.taken = []netip.Prefix{netip.MustParsePrefix("10.1.1.0/25")}
	step("withdrawn", func() error {
		if err := check(); !errors.Is(err, route.ErrOverlap) {
			return errors.New("not withdrawn")
		}
		return nil
	}, nil)
}
