package host_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// TestKernelManyNetworks has routes to 300 private networks, which all stay outside a full tunnel,
// and to some that lie in others.
func TestKernelManyNetworks(t *testing.T) {
	roaming(t)
	var batch strings.Builder
	for i := range 300 {
		fmt.Fprintf(&batch, "route add 172.%d.%d.0/25 via 192.168.107.2\n", 20+i>>8, i&255)
		fmt.Fprintf(&batch, "route add 172.%d.%d.7/32 via 192.168.107.2\n", 20+i>>8, i&255)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before := whole(t)
	r, _ := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), alone()); err != nil {
		t.Fatal(err)
	}
	rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "output")
	for _, n := range []string{"172.20.0.0/25", "172.20.127.0/25", "172.20.128.0/25", "172.21.43.0/25",
		"192.168.107.0/24"} {
		if !strings.Contains(rules, n) {
			t.Errorf("%s is not in\n%.5000s", n, rules)
		}
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}
