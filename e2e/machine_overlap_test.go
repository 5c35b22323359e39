package e2e

import (
	"strings"
	"testing"
)

// The server's machine gets a network that overlaps the tunnel's: it is reachable at once, the
// server goes on, and its clients reach it again when that network is gone.
func TestServerRoamsIntoOverlap(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	ipDo(server, "link add wlan0 type veth peer name air0")
	ipDo(server, "link set air0 up")
	ipDo(server, "link set wlan0 up")
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	for _, way := range []string{"10.1.1.77/24", "10.1.9.77/16"} {
		ipDo(server, "addr add "+way+" dev wlan0")
		eventually(t, "the server has withdrawn", func() bool {
			return !strings.Contains(server.Run("ip", "-4", "route", "get", "10.1.1.200"), "tun0") &&
				!strings.Contains(server.Run("ip", "-4", "addr", "show", "dev", "tun0"), "inet ")
		})
		ipDo(server, "addr del "+way+" dev wlan0")
		eventually(t, "the clients are reached again", func() bool {
			_, _, code := server.Try("ping", "-n", "-c1", "-W1", "10.1.1.3")
			return code == 0
		})
		reaches(t, client, "10.1.1.1")
	}
	srv.WaitForNth("address and route withdrawn", 2, soon)
	srv.WaitForNth("address and route are back", 2, soon)
	if downs(cl) != 0 {
		t.Errorf("the client has lost its connection: %s", cl.Stdout())
	}
	stop(t, cl)
	stop(t, srv)
}
