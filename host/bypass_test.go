package host_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
)

const (
	addBypass = "ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160\n"
	delBypass = "ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160\n"
)

func TestBypass(t *testing.T) {
	for name, test := range map[string]struct {
		server string
		before []string // what happened on the machine before
		want   string
	}{
		"gateway":              {"101.43.253.110", nil, addBypass},
		"IPv4 written as IPv6": {"::ffff:101.43.253.110", nil, addBypass},
		"on the link":          {"192.168.107.9", nil, ""},
		"loopback":             {"127.0.0.1", nil, ""},
		"this machine": {"10.9.9.9",
			[]string{"ip addr add dev ens160 local 10.9.9.9 peer 10.9.9.9"}, ""},
		"IPv6":                 {"2001:db8::1", nil, ""},
		"a bypass of the user": {"101.43.253.110", []string{strings.TrimSpace(addBypass)}, ""},
		"another of the user's": {"101.43.253.110",
			[]string{"ip -4 r a 101.43.253.110/32 via 192.168.107.77 dev ens160"}, ""},
		"attracted by the tunnel": {
			"101.43.253.110",
			[]string{"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
				"ip route add 101.0.0.0/8 via 10.1.1.4 dev tun0"},
			addBypass,
		},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, recorder, r, dir := setup(t)
			do(t, kernel, test.before...)
			before := kernel.Dump()
			for range 2 { // the second finds the first's and does nothing
				if err := r.Bypass(t.Context(), port(test.server)); err != nil {
					t.Fatal(err)
				}
			}
			if got := recorder.Transcript(); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if err := r.Close(); err != nil || kernel.Dump() != before {
				t.Errorf("%v, left\n%s", err, kernel.Dump())
			}
			empty(t, dir)
		})
	}
}

func TestBypassNoRoute(t *testing.T) {
	r := newOn(pretend(t, false))
	err := r.Bypass(t.Context(), port("101.43.253.110"))
	if !errors.Is(err, route.ErrNoRoute) || !strings.Contains(err.Error(),
		"no route to 101.43.253.110: network is unreachable") {
		t.Errorf("got %v", err)
	}

	kernel, _, r, _ := setup(t)
	do(t, kernel, "ip route del default via 192.168.107.2 dev ens160",
		"ip route add default dev tun0")
	if err := r.Bypass(t.Context(), port("101.43.253.110")); !errors.Is(err, route.ErrNoRoute) ||
		!strings.Contains(err.Error(), "through the tunnel itself (tun0)") {
		t.Errorf("got %v", err)
	}
}

// Each change happens after a Bypass; another Bypass must follow it.
func TestBypassFollows(t *testing.T) {
	const (
		delDefault = "ip route del default via 192.168.107.2 dev ens160"
		addOther   = "ip -4 r a 101.43.253.110/32 via 10.0.0.1 dev wlan0\n"
	)
	for name, test := range map[string]struct {
		change  func(*testing.T, *iptest.Kernel)
		want    string
		noRoute bool
	}{
		"nothing": {func(*testing.T, *iptest.Kernel) {}, "", false},
		"another interface": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, delDefault, "ip route add default via 10.0.0.1 dev wlan0")
		}, delBypass + addOther, false},
		"a longer prefix": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, "ip route add 101.0.0.0/8 via 10.0.0.1 dev wlan0")
		}, delBypass + addOther, false},
		"the interface is gone, another is there": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			k.DelLink("ens160")
			do(t, k, "ip route add default via 10.0.0.1 dev wlan0")
		}, addOther, false},
		"the route is gone": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, strings.TrimSpace(delBypass))
		}, addBypass, false},
		"on the link now": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, "ip route add 101.43.253.0/24 dev wlan0")
		}, delBypass, false},
		"no way": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, delDefault)
		}, delBypass, true},
		"the tunnel has the default route": {func(t *testing.T, k *iptest.Kernel) {
			t.Helper()
			do(t, k, "ip route add 0.0.0.0/1 dev tun0", "ip route add 128.0.0.0/1 dev tun0")
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, recorder, r, dir := setup(t)
			kernel.AddLink("wlan0")
			if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
				t.Fatal(err)
			}
			test.change(t, kernel)
			recorder.Reset()
			if err := r.Bypass(t.Context(), port("101.43.253.110")); errors.Is(err,
				route.ErrNoRoute) != test.noRoute ||
				err != nil && !test.noRoute {
				t.Fatal(err)
			}
			if got := recorder.Transcript(); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if err := r.Close(); err != nil ||
				strings.Contains(kernel.Dump(), "101.43.253.110/32") {
				t.Errorf("%v, left\n%s", err, kernel.Dump())
			}
			empty(t, dir)
		})
	}
}

// A host route that appears between our look-up and our command is somebody else's.
func TestBypassRace(t *testing.T) {
	kernel, _, r, dir := setup(t)
	kernel.Fail(strings.TrimSpace(addBypass), 2, "RTNETLINK answers: File exists")
	if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
		t.Error(err)
	}
	do(t, kernel, "ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160 proto boot")
	kernel.Fail(strings.TrimSpace(addBypass), 0, "")
	before := kernel.Dump()
	if err := r.Close(); err != nil || kernel.Dump() != before {
		t.Errorf("%v, left\n%s", err, kernel.Dump())
	}
	empty(t, dir)
}

func TestRetain(t *testing.T) {
	_, recorder, r, _ := setup(t)
	for _, server := range []string{"1.1.1.1", "2.2.2.2", "3.3.3.3"} {
		if err := r.Bypass(t.Context(), port(server)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); err != nil {
		t.Fatal(err)
	}
	recorder.Reset()
	if err := r.Retain(t.Context(), addr("2.2.2.2"), addr("2001:db8::1")); err != nil {
		t.Fatal(err)
	}
	want := "ip -4 r d 3.3.3.3/32 via 192.168.107.2 dev ens160\nip -4 r d 1.1.1.1/32 via " +
		"192.168.107.2 dev ens160\n"
	if got := recorder.Transcript(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestOverlap(t *testing.T) {
	for name, test := range map[string]struct {
		before []string
		want   string
	}{
		"default routes only": {
			[]string{"ip route add 0.0.0.0/1 dev ens160", "ip route add 128.0.0.0/1 dev ens160"},
			"",
		},
		"larger": {[]string{"ip route add 10.1.0.0/16 dev eth1"},
			"10.1.1.0/24 overlaps the route 10.1.0.0/16 dev eth1"},
		"inside": {[]string{"ip route add 10.1.1.64/26 via 192.168.107.3 dev eth1"},
			"10.1.1.0/24 overlaps the route 10.1.1.64/26 via 192.168.107.3 dev eth1"},
		"address": {[]string{"ip addr add dev eth1 local 10.1.1.9 peer 10.9.9.9"},
			"10.1.1.0/24 overlaps the address 10.1.1.9 dev eth1"},
		"a gateway": {
			[]string{"ip route add 172.20.0.0/16 via 10.1.1.254 dev eth1"},
			"10.1.1.0/24 overlaps the gateway 10.1.1.254 of the route 172.20.0.0/16 via " +
				"10.1.1.254 dev eth1",
		},
		"our own": {[]string{"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
			"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0"}, ""},
		"neighbour": {[]string{"ip route add 10.1.0.0/24 dev eth1",
			"ip route add 10.1.2.0/23 dev eth1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, _, r, _ := setup(t)
			kernel.AddLink("eth1")
			do(t, kernel, test.before...)
			err := r.Overlap(t.Context(), prefix("10.1.1.7/24"))
			if test.want == "" && err != nil ||
				test.want != "" && (err == nil || err.Error() != test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if errors.Is(err, route.ErrOverlap) != (test.want != "") {
				t.Errorf("%v is not an ErrOverlap", err)
			}
		})
	}
	_, _, r, _ := setup(t)
	for _, test := range []struct{ resolver, want string }{
		{"10.1.1.53", "10.1.1.0/24 overlaps this machine's DNS server 10.1.1.53"},
		{"10.1.2.53", ""}, {"fd00::53", ""},
	} {
		r.Resolvers = func() ([]netip.Addr, error) { return []netip.Addr{addr(test.resolver)}, nil }
		err := r.Overlap(t.Context(), prefix("10.1.1.0/24"))
		if errors.Is(err, route.ErrOverlap) != (test.want != "") ||
			err != nil && err.Error() != test.want {
			t.Errorf("with the DNS server %s: %v", test.resolver, err)
		}
	}
	r.Resolvers = func() ([]netip.Addr, error) { return nil, os.ErrPermission }
	if err := r.Overlap(t.Context(), prefix("10.1.1.0/24")); !errors.Is(err, os.ErrPermission) ||
		errors.Is(err, route.ErrOverlap) {
		t.Errorf("DNS servers that are not known: %v", err)
	}
	if err := host.New(journal.Machine{Run: iptest.NewRecorder(nil)}, nil, nil).Overlap(t.Context(),
		prefix("fd00::/8")); err == nil {
		t.Error("an IPv6 network passes")
	}
}
