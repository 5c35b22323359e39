package keep_test

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/keep"
	"tunnel/rtnl"
)

// machine has routes in its main table.
type machine struct {
	rtnl.Lookup

	routes []rtnl.Route
}

func (m *machine) Routes(table, _ int, visit func(rtnl.Route) bool) error {
	for _, r := range m.routes {
		if table == unix.RT_TABLE_MAIN && !visit(r) {
			break
		}
	}
	return nil
}

func (m *machine) has(prefix string, index int) {
	m.routes = append(m.routes, rtnl.Route{Dst: netip.MustParsePrefix(prefix), Type: unix.RTN_UNICAST,
		Table: unix.RT_TABLE_MAIN, Hops: []rtnl.Hop{{Index: index}}})
}

// ExceptSet is told of the public networks that this machine reaches without a full tunnel, when
// they change. Without one, or without the LAN, there are none.
func TestExceptSet(t *testing.T) {
	f, m := &fake{}, &machine{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	k.Look = m
	var told [][]netip.Prefix
	k.ExceptSet = func(networks []netip.Prefix) { told = append(told, networks) }
	for _, prefix := range []string{"0.0.0.0/0", "192.168.1.0/24", "203.0.113.0/24",
		"203.0.113.7/32"} {
		m.has(prefix, 2)
	}
	m.has("198.51.100.0/24", 7) // the tunnel's own
	full, noLAN := config(), config()
	full.Full.On, noLAN.Full.On, noLAN.Full.NoLAN = true, true, true
	step := func(what string, err error, want ...[]netip.Prefix) {
		t.Helper()
		if err != nil || !slices.EqualFunc(told, want, slices.Equal) {
			t.Errorf("%s: %v, told %v; want %v", what, err, told, want)
		}
		told = nil
	}
	lan, other := netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("8.8.8.0/24")
	step("none", k.Set(t.Context(), config()))
	step("full", k.Set(t.Context(), full), []netip.Prefix{lan})
	step("the same", k.Check(t.Context()))
	m.has(other.String(), 3)
	step("another", k.Check(t.Context()), []netip.Prefix{other, lan})
	step("without the LAN", k.Set(t.Context(), noLAN), []netip.Prefix(nil))
}
