package host_test

import (
	"errors"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
)

// Whatever another program makes of the device's own address and route, the next Set makes them
// ours again.
func TestKernelOwnRouteChanged(t *testing.T) {
	const network = "10.1.1.0/24 "
	for name, changes := range map[string][]string{
		"a path MTU": {"route change " + network + "via 10.1.1.4 dev tun0 mtu 1300"},
		"no gateway": {"route replace " + network + "dev tun0"},
		"a protocol": {"route replace " + network + "via 10.1.1.4 dev tun0 proto static"},
		"a source":   {"route replace " + network + "via 10.1.1.4 dev tun0 src 10.1.1.3"},
		"a scope":    {"route del " + network, "route add " + network + "dev tun0 scope link"},
		"two for one": {"route del " + network, "route add " + network + "dev tun0",
			"route append " + network + "dev tun0 proto static"},
		"a metric":     {"route del " + network, "route add " + network + "dev tun0 metric 5"},
		"gone":         {"route del " + network},
		"a whole net":  {"addr flush dev tun0", "addr add 10.1.1.3/24 dev tun0"},
		"another peer": {"addr flush dev tun0", "addr add 10.1.1.3 peer 10.1.1.9/24 dev tun0"},
		"not local":    {"route del table local local 10.1.1.3 dev tun0"},
		"no peer":      {"addr flush dev tun0", "addr add 10.1.1.3/32 dev tun0"},
	} {
		t.Run(name, func(t *testing.T) {
			before := behindGateway(t)
			r, recorder := newRouter(t, t.TempDir())
			want := pair("10.1.1.3", "10.1.1.4")
			if err := r.Apply(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			for _, change := range changes {
				iptest.IP(t, change)
			}
			if err := r.Apply(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			recorder.Reset()
			if err := r.Apply(t.Context(), want); err != nil || recorder.Transcript() != "" {
				t.Errorf("once more: %v, ran\n%s", err, recorder.Transcript())
			}
			if local := "local 10.1.1.3 dev tun0 "; !strings.Contains(iptest.IP(t,
				"route show table local"), local) {
				t.Errorf("no %s", local)
			}
			for _, line := range []string{"10.1.1.0/24 via 10.1.1.4 dev tun0 \n",
				"10.1.1.4 dev tun0 proto kernel scope link src 10.1.1.3 \n"} {
				if have := iptest.IP(t, "-4 route show"); !strings.Contains(have, line) {
					t.Errorf("no %s in\n%s", line, have)
				}
			}
			if name == "a metric" {
				iptest.IP(t, "route del "+network+"metric 5")
			}
			if err := r.Close(); err != nil || state(t) != before {
				t.Errorf("%v, left\n%s", err, state(t))
			}
		})
	}
}

// A restoration that fails again and again is a contest, too; what a device never had is none.
func TestFailedRestorationsEnd(t *testing.T) {
	const command = "ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0"
	for name, held := range map[string]bool{"held": true, "never given": false} {
		t.Run(name, func(t *testing.T) {
			kernel, _, r, _ := setup(t)
			want := pair("10.1.1.3", "10.1.1.4")
			if held {
				if err := r.Apply(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				do(t, kernel, "ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0")
			}
			kernel.Fail(command, 2, "RTNETLINK answers: File exists")
			for i := range 7 {
				err := r.Apply(t.Context(), want)
				if ends := held && i >= 5; err == nil || errors.Is(err, host.ErrContested) != ends {
					t.Fatalf("failure %d: %v", i+1, err)
				}
			}
		})
	}
}
