package host_test

import (
	"strings"
	"testing"

	"tunnel/ipcmd/iptest"
)

// Whatever a default route says of its path the bypass says, too, and is known again: it moves with
// the gateway and goes at the end.
func TestKernelBypassKeepsPath(t *testing.T) {
	for _, said := range []string{
		"mtu lock 1300", "mtu 1300", "window lock 3000", "rtt lock 37ms", "rtt 37",
		"rttvar lock 13ms", "ssthresh lock 4", "cwnd lock 5",
		"advmss lock 1000", "reordering lock 4", "hoplimit lock 70", "initcwnd lock 11",
		"initrwnd lock 12", "quickack 1",
		"fastopen_no_cookie 1", "rto_min 300ms", "features ecn", "congctl lock cubic",
		"congctl cubic", "congctl lock reno rto_min 250ms mtu 1400",
		"onlink", "src 192.168.107.9",
	} {
		t.Run(said, func(t *testing.T) {
			iptest.Namespace(t)
			iptest.Link(t, "ens160", "192.168.107.5/24")
			iptest.IP(t, "addr add 192.168.107.9/24 dev ens160")
			iptest.OpenTun(t, "tun0", 0)
			r, recorder := newRouter(t, t.TempDir())
			const server = "101.43.253.110"
			for _, gateway := range []string{"192.168.107.2", "192.168.107.3"} {
				iptest.IP(t, "route replace default via "+gateway+" dev ens160 "+said)
				if err := r.Bypass(t.Context(), port(server)); err != nil {
					t.Fatal(err)
				}
				byDefault := strings.TrimSpace(iptest.IP(t, "route show default"))
				want := strings.Replace(byDefault, "default", server, 1)
				if have := strings.TrimSpace(iptest.IP(t,
					"route show exact "+server)); have != want {
					t.Errorf("the bypass is %q, want %q", have, want)
				}
				recorder.Reset()
				if err := r.Bypass(t.Context(), port(server)); err != nil ||
					recorder.Transcript() != "" {
					t.Errorf("once more: %v, ran\n%s", err, recorder.Transcript())
				}
			}
			if err := r.Close(); err != nil || iptest.IP(t, "route show exact "+server) != "" {
				t.Errorf("%v, left\n%s", err, iptest.IP(t, "route show"))
			}
		})
	}
}
