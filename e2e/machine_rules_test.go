package e2e

import (
	"testing"

	"tunnel/e2e/lab"
)

// Rules and routes select a connection to the server by port, protocol or source, so that a lookup
// of the address alone has another result: the client connects. If a connection has no route
// either, the error says so.
func TestRoutesByPortAndSource(t *testing.T) {
	t.Parallel()
	const server6 = "2001:db8:2::1"
	for name, test := range map[string]struct {
		url   string
		setup func(client *lab.Host)
	}{
		"a rule for the port": {routedURL, func(client *lab.Host) {
			ipDo(client, "route del default")
			ipDo(client, "rule add pref 50 ipproto tcp dport 8443 lookup 60")
			ipDo(client, "route add default via 10.77.0.1 table 60")
		}},
		"a rule for UDP": {routedURL, func(client *lab.Host) {
			ipDo(client, "rule add pref 50 to 203.0.113.0/24 ipproto udp unreachable")
		}},
		"a default route by source": {"ws://[" + server6 + "]:8443", func(client *lab.Host) {
			ipDo(client, "-6 addr add 2001:db8:1::2/64 dev eth0 nodad")
			ipDo(client, "-6 route add default from 2001:db8:1::/64 via 2001:db8:1::1")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, client, router := routed(t)
			ipDo(server, "-6 addr add "+server6+"/64 dev eth0 nodad")
			ipDo(server, "-6 route add default via 2001:db8:2::fe")
			ipDo(router, "-6 addr add 2001:db8:2::fe/64 dev eth0 nodad")
			ipDo(router, "-6 addr add 2001:db8:1::1/64 dev eth1 nodad")
			router.Sysctl("net.ipv6.conf.all.forwarding", "1")
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			test.setup(client)
			cl := bin.connect(t, client, test.url)
			reaches(t, client, "10.1.1.1")
			stop(t, cl)
		})
	}
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	ipDo(client, "route del default")
	failure{
		name: "no route for a connection", code: 4, step: "tcp",
		says: "no route to 203.0.113.1: network is unreachable: check this machine's network",
		args: []string{"connect", routedURL, "--token", token, "--state", t.TempDir()},
	}.check(t, client, bin)
}
