package host_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/journal"
	"tunnel/route"
)

// TestKinds has every kind of fact be comparable, since facts are compared with ==.
func TestKinds(t *testing.T) {
	kinds := host.Kinds()
	// what earlier versions have written
	for _, name := range []string{"device", "address", "route", "bypass"} {
		if kinds[name] == nil {
			t.Errorf("no kind %q", name)
		}
	}
	for name, kind := range kinds {
		if !kind.Comparable() {
			t.Errorf("%s cannot be compared", name)
		}
	}
}

// TestApplyLists is about more than one address and route: only the difference is made, what leans
// on an address goes before it and comes back after it, and all is undone in reverse.
func TestApplyLists(t *testing.T) {
	kernel, recorder, h, dir := setup(t)
	before := kernel.Dump()
	want := pair("10.1.1.3", "10.1.1.4")
	want.Addresses = append(want.Addresses, host.Address{Local: addr("10.2.2.3"),
		Peer: addr("10.2.2.4")})
	want.Routes = append(want.Routes, host.Route{Prefix: prefix("10.2.2.0/24"),
		Via: addr("10.2.2.4")})
	apply := func(w host.Want, commands ...string) {
		t.Helper()
		recorder.Reset()
		if err := h.Apply(t.Context(), w); err != nil && !errors.Is(err, route.ErrNotUsed) {
			t.Fatal(err)
		}
		if got := recorder.Transcript(); got != strings.Join(append(commands, ""), "\n") {
			t.Errorf("ran\n%swant\n%s", got, strings.Join(commands, "\n"))
		}
	}
	apply(want,
		"ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"ip addr add dev tun0 local 10.2.2.3 peer 10.2.2.4",
		"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0",
		"ip route add 10.2.2.0/24 via 10.2.2.4 dev tun0")
	apply(want)
	more := want
	more.Routes = append([]host.Route{{Prefix: prefix("10.1.0.0/16"), Via: addr("10.1.1.4")}},
		want.Routes...)
	apply(more, "ip route add 10.1.0.0/16 via 10.1.1.4 dev tun0")
	do(t, kernel, "ip route del 10.2.2.0/24 via 10.2.2.4 dev tun0") // by another program
	apply(more, "ip route add 10.2.2.0/24 via 10.2.2.4 dev tun0")
	other := more
	other.Addresses = []host.Address{want.Addresses[1],
		{Local: addr("10.1.1.9"), Peer: addr("10.1.1.4")}}
	apply(other,
		"ip route del 10.1.0.0/16 via 10.1.1.4 dev tun0",
		"ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0",
		"ip addr del dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"ip addr add dev tun0 local 10.1.1.9 peer 10.1.1.4",
		"ip route add 10.1.0.0/16 via 10.1.1.4 dev tun0",
		"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0")
	if err := h.Close(); err != nil || kernel.Dump() != before {
		t.Errorf("%v, left\n%s", err, kernel.Dump())
	}
	empty(t, dir)
}

// TestOverlapOfSeveral has one of several networks overlap.
func TestOverlapOfSeveral(t *testing.T) {
	kernel := pretend(t, true)
	h := host.New(journal.Machine{Run: kernel, Look: kernel}, nil, nil)
	const want = "192.168.107.128/25 overlaps the route 192.168.107.0/24 dev ens160"
	err := h.Overlap(t.Context(), prefix("10.1.1.0/24"), prefix("192.168.107.128/25"),
		prefix("10.2.2.0/24"))
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := h.Overlap(t.Context(), prefix("10.1.1.0/24"), prefix("10.2.2.0/24")); err != nil {
		t.Error(err)
	}
}

// TestWantOverTheWire has a Want be the same after it was sent to a parent.
func TestWantOverTheWire(t *testing.T) {
	want := pair("10.1.1.3", "10.1.1.4")
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got host.Want
	if err := json.Unmarshal(text, &got); err != nil || !got.Equal(want) || got.IsZero() {
		t.Errorf("%s is %+v, %v", text, got, err)
	}
	for _, change := range []func(*host.Want){
		func(w *host.Want) { w.Dev = "tun1" }, func(w *host.Want) { w.MTU++ },
		func(w *host.Want) { w.Qlen++ },
		func(w *host.Want) { w.Addresses = nil }, func(w *host.Want) { w.Routes = nil },
	} {
		other := pair("10.1.1.3", "10.1.1.4")
		if change(&other); other.Equal(want) {
			t.Errorf("%+v is the same", other)
		}
	}
}
