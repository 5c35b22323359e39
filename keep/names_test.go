package keep_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/route"
)

// The DNS servers that are used are those behind a route that is. A failure of theirs is told once,
// and is none of the device.
func TestNames(t *testing.T) {
	f := &fake{}
	k := keep.New(f, 7, slog.New(slog.DiscardHandler))
	var told []string
	k.NamesSet = func(c dns.Config, err error) {
		told = append(told, fmt.Sprintf("%v %v", c.Servers, err != nil))
	}
	addr := netip.MustParseAddr
	own, behind := addr("10.1.1.1"), addr("192.168.7.53")
	names := dns.Config{Servers: []netip.Addr{own, behind}, Domains: []string{"corp.example"}}
	more := []host.Route{{Prefix: netip.MustParsePrefix("192.168.7.0/24")}}
	if err := errors.Join(k.Set(t.Context(), config()), k.SetMore(t.Context(), more, names)); err !=
		nil || !f.names.Equal(names) {
		t.Fatalf("%v, %+v", err, f.names)
	}
	machine := []netip.Addr{own, addr("192.0.2.53"), behind}
	if got := k.Without(machine); !slices.Equal(got, machine[1:2]) {
		t.Errorf("this machine's own are %v", got)
	}
	check := func(what string, want ...netip.Addr) {
		t.Helper()
		if err := k.Check(t.Context()); err != nil || !slices.Equal(f.names.Servers, want) {
			t.Errorf("%s: %v, %v", what, err, f.names)
		}
	}
	f.taken = []netip.Prefix{more[0].Prefix}
	check("without the route", own)
	f.taken = nil
	check("with the route", own, behind)
	f.set = fmt.Errorf("%w: for a reason", dns.ErrNotSet)
	check("failed", own, behind)
	check("failed again", own, behind)
	if got := k.Without(machine); !slices.Equal(got, machine) {
		t.Errorf("this machine's own are %v", got)
	}
	f.set = nil
	check("again", own, behind)
	both, one := fmt.Sprint(names.Servers), fmt.Sprint(names.Servers[:1])
	if want := []string{both + " false", one + " false", both + " false", both + " true",
		both + " false"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}

	// While the tunnel is withdrawn this machine's servers are its own.
	f.overlap = &route.OverlapError{}
	if err := k.Check(t.Context()); !errors.Is(err, route.ErrOverlap) ||
		!slices.Equal(k.Without(machine), machine) {
		t.Errorf("withdrawn: %v", err)
	}
	f.overlap = nil
	check("back", own, behind)
	// What no machine is given does not reach it.
	names.Domains = []string{"com"}
	if err := k.SetMore(t.Context(), more, names); err != nil || !f.names.IsZero() ||
		told[len(told)-1] != "[] true" {
		t.Errorf("%v, %v, %q", err, f.names, told)
	}
	other := config()
	other.MTU = 1400
	if err := errors.Join(k.SetMore(t.Context(), more, dns.Config{Servers: names.Servers, All: true}),
		k.Set(t.Context(), other)); err != nil || !f.names.IsZero() {
		t.Errorf("another Want: %v, %v", err, f.names)
	}
}
