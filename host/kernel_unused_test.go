package host_test

import (
	"errors"
	"strings"
	"testing"

	"tunnel/ipcmd/iptest"
	"tunnel/route"
)

// TestKernelFullNotUsed has something else take the internet while a full tunnel is up: that is
// noticed at the next look, and named.
func TestKernelFullNotUsed(t *testing.T) {
	for name, commands := range map[string][2]string{
		"a rule before":  {"rule add pref 1000 table main", "rule del pref 1000"},
		"the lower half": {"route add 0.0.0.0/1 via 192.168.107.2", "route del 0.0.0.0/1"},
		"the upper half": {"route add 128.0.0.0/1 via 192.168.107.2", "route del 128.0.0.0/1"},
		"nothing":        {"rule add pref 1000 prohibit to 12.0.0.0/8", "rule del pref 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			roaming(t)
			r, _ := newRouter(t, t.TempDir())
			if err := r.Apply(t.Context(), full()); err != nil {
				t.Fatal(err)
			}
			iptest.IP(t, commands[0])
			err := r.Apply(t.Context(), full())
			if !errors.Is(err, route.ErrNotUsed) ||
				!strings.Contains(err.Error(), "packets to the internet (") ||
				name != "nothing" && !strings.Contains(err.Error(), "leave by ens160, not by tun0") {
				t.Errorf("got %v", err)
			}
			iptest.IP(t, commands[1])
			if err := r.Apply(t.Context(), full()); err != nil {
				t.Errorf("without it: %v", err)
			}
		})
	}
}
