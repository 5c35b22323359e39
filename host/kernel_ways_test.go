package host_test

import (
	"strings"
	"testing"

	"tunnel/ipcmd/iptest"
)

// TestKernelWays keeps packets to a network to the interface that led there when that is down, is
// renamed and is gone, and takes another one when a route leads by it.
func TestKernelWays(t *testing.T) {
	gateway(t)
	iptest.Link(t, "other", "192.168.9.1/24")
	r, _ := newRouter(t, t.TempDir())
	const to = `iifname "tun0" ip daddr 192.168.7.0/24 `
	for _, step := range []struct{ command, want string }{
		{"", to + `oif != "lan.7" reject`},
		{"link set lan.7 down", to + `oif != "lan.7" reject`},
		{"link set lan.7 name lan.8", to + `oif != "lan.8" reject`},
		{"route add 192.168.0.0/16 via 192.168.9.2", to + `oif != "other" reject`},
		{"route del 192.168.0.0/16 via 192.168.9.2", to + `oif != "other" reject`},
		{"route add 192.168.7.0/25 via 192.168.107.2",
			`iifname "tun0" ip daddr 192.168.7.0/25 oif != "ens160" reject`},
		{"link del other", to + `ip daddr != 192.168.7.0/25 reject`},
	} {
		if step.command != "" {
			iptest.IP(t, step.command)
		}
		w := forwarding()
		w.Sysctls = w.Sysctls[:1]
		if err := r.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if rules := nft(t, "list", "ruleset"); !strings.Contains(rules, step.want) {
			t.Errorf("%s: no %s in\n%s", step.command, step.want, rules)
		}
	}
}
