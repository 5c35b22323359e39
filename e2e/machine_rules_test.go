package e2e

import (
	"slices"
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

// A rule for the server's port, or for the user as which the program connects, leads to another
// gateway than the default route, whose own leads nowhere, and more specific routes of the main
// table go before that rule, as wg-quick has them: the bypass takes the rule's gateway, and follows
// it.
func TestBypassByRule(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]string{
		"port": "ipproto tcp dport 8443", "user": "uidrange 65534-65534",
	} {
		t.Run(name, func(t *testing.T) {
			server, client, router := routed(t)
			ipDo(router, "addr add 10.77.0.5/24 dev eth1")
			ipDo(client, "route replace default via 10.77.0.66")
			ipDo(client, "route add default via 10.77.0.1 table 60")
			ipDo(client, "rule add pref 50 lookup main suppress_prefixlength 0")
			ipDo(client, "rule add pref 60 "+rule+" lookup 60")
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			cl := bin.connect(t, client, routedURL, "--user", "nobody")
			reaches(t, client, "10.1.1.1")
			bypass := func(gateway string) {
				t.Helper()
				want := "203.0.113.1 via " + gateway + " dev eth0"
				if have := routes(client, "show", "exact", "203.0.113.1"); !slices.Equal(have,
					[]string{want}) {
					t.Errorf("the bypass is %q, want %q", have, want)
				}
			}
			bypass("10.77.0.1")
			ipDo(client, "route replace default via 10.77.0.5 table 60")
			cl.WaitFor("down: this machine's way to the server has changed", soon)
			cl.WaitForNth("up: ", 2, soon)
			reaches(t, client, "10.1.1.1")
			bypass("10.77.0.5")
			stop(t, cl)
			if left := routes(client, "show", "exact", "203.0.113.1"); len(left) > 0 {
				t.Errorf("left %q", left)
			}
		})
	}
}
