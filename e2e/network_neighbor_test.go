package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// stray sends to an IPv4 address the end of a TCP connection that has never been.
const stray = `
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
s.sendto(struct.pack("!HHIIBBHHH", 8000, 8000, 1, 0, 0x50, 1, 0, 0, 0), (sys.argv[1], 0))`

// TestNeighborOfSite has the default gateway of a site, whose router forwards on its own, pose as
// one of its hosts, and has others send through the site to what only has an address of it.
func TestNeighborOfSite(t *testing.T) {
	t.Parallel()
	hub, a, b, neighbor := twoSites(t)
	a.router.Sysctl("net.ipv4.ip_forward", "1")
	a.router.Run("ip", "route", "add", "default", "via", "198.51.100.9")
	neighbor.Run("ip", "address", "add", "10.50.1.50/32", "dev", "lo")
	neighbor.Run("ip", "route", "add", "10.50.2.0/24", "via", "198.51.100.2")
	neighbor.Run("nft", "add table ip seen; add chain ip seen in "+
		"{ type filter hook prerouting priority 0; }; "+
		"add rule ip seen in ip daddr 10.50.1.0/24 counter drop")
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, hub, "serve", "--plain", "--state", state, "--client-to-client")
	srv.WaitFor("listening on ", soon)
	join := func(h *lab.Host, name, as string) *lab.Proc {
		t.Helper()
		text := bin.token(t, hub, state, "create", name, "--route", as)
		return bin.start(t, h, "connect", "--token", text, "--state", t.TempDir(),
			"--advertise", "192.168.1.0/24="+as, "ws://198.51.100.1:8443")
	}
	atA, atB := join(a.router, "a", "10.50.1.0/24"), join(b.router, "b", "10.50.2.0/24")
	atA.WaitFor("networks=[10.50.2.0/24]", soon)
	atB.WaitFor("networks=[10.50.1.0/24]", soon)
	reaches(t, a.host, "10.50.2.9")
	cannotReach(t, neighbor, "10.50.2.9", "-I", "10.50.1.50")

	eventually(t, "the hub has the route", func() bool { return hasRoute(hub, "10.50.1.0/24") })
	hub.Run(python, "-c", stray, "10.50.1.77")
	reaches(t, hub, "10.50.1.9") // after the stray segment, by the same path
	if seen := neighbor.Run("nft", "list", "table", "ip", "seen"); !strings.Contains(seen,
		"counter packets 0 ") {
		t.Errorf("untranslated packets leave by the default route\n%s", seen)
	}
	stop(t, atB)
	stop(t, atA)
}
