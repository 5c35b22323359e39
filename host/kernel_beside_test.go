package host_test

import (
	"strings"
	"testing"
)

// TestKernelBeside forwards from the LAN into the device of another run, too, while that has a
// table.
func TestKernelBeside(t *testing.T) {
	before := gateway(t)
	r, _ := newRouter(t, t.TempDir())
	apply := func(others bool) {
		t.Helper()
		if err := r.Apply(t.Context(), forwarding()); err != nil {
			t.Fatal(err)
		}
		rules := nft(t, "list", "table", "inet", "tunnel_tun0")
		if !strings.Contains(rules, `iif "lan.7" oif != "lan.7" oifname != `) ||
			strings.Contains(rules, `"tun9"`) != others {
			t.Errorf("with the device of another run: want %v in\n%s", others, rules)
		}
	}
	apply(false)
	nft(t, "add table inet tunnel_tun9; add chain inet tunnel_tun9 forward "+
		"{ type filter hook forward priority 0; }")
	apply(true)
	nft(t, "delete table inet tunnel_tun9")
	apply(false)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := whole(t); after != before {
		t.Errorf("left\n%s", after)
	}
}
