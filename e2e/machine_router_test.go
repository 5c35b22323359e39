package e2e

import (
	"slices"
	"testing"
)

// With a gateway between client and server the client adds and removes the documented route to the
// server, and the default route stays.
func TestClientBehindRouter(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)

	wantCommands(t, cl,
		"ip -4 r a 203.0.113.1/32 via 10.77.0.1 dev eth0",
		"ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0")
	wantLines(t, "ip route", client.Run("ip", "-4", "route"),
		"default via 10.77.0.1 dev eth0",
		"203.0.113.1 via 10.77.0.1 dev eth0")
	wantLines(t, "route", client.Run("route", "-n"),
		"10.1.1.0 10.1.1.4 255.255.255.0 UG 0 0 0 tun0",
		"10.1.1.4 0.0.0.0 255.255.255.255 UH 0 0 0 tun0",
		"203.0.113.1 10.77.0.1 255.255.255.255 UGH 0 0 0 eth0")
	reaches(t, client, "10.1.1.1")
	reaches(t, server, "10.1.1.3")
	sendFile(t, client, server, "10.1.1.1", 5<<20)
	stop(t, cl)
	untouched(t, client, before)
}

// A route to the server that existed before the run is kept.
func TestUserRouteStays(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	client.Run("ip", "route", "add", "203.0.113.1/32", "via", "10.77.0.1", "dev", "eth0")
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	wantCommands(t, cl, "ip link set dev tun0 up mtu 1400 qlen 100")
	if n := countRoutes(routes(client), "203.0.113.1 via 10.77.0.1 dev eth0"); n != 1 {
		t.Errorf("%d routes to the server, want the user's one", n)
	}
	stop(t, cl)
	untouched(t, client, before)
}

// countRoutes returns how many lines are equal to route.
func countRoutes(lines []string, route string) int {
	n := 0
	for rest := lines; ; n++ {
		i := slices.Index(rest, route)
		if i < 0 {
			return n
		}
		rest = rest[i+1:]
	}
}
