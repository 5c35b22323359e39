package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// The machine gets a DNS server inside the network that the hub has granted: DNS queries still use
// the default route, during the session, after a reconnection and in a later run. The tunnel
// returns without that DNS server.
func TestResolverMovesIntoNetwork(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	const home, elsewhere = "203.0.113.1", "10.1.1.53"
	client.Hosts()
	resolves(t, client, home)
	bin := plainBuild(t)
	state, before := t.TempDir(), tables(t, client)
	srv := bin.serve(t, server, "--plain")
	connect := func(flags ...string) *lab.Proc {
		return bin.start(t, client, append([]string{"connect", routedURL, "--token", token,
			"--state", state}, flags...)...)
	}
	past := func(what string) {
		t.Helper()
		if route := client.Run("ip", "-4", "route", "get", elsewhere); strings.Contains(route, "tun0") {
			t.Errorf("%s: DNS goes into the tunnel: %s", what, route)
		}
	}
	cl := connect()
	cl.WaitFor("up: ", soon)
	resolves(t, client, elsewhere)
	cl.WaitFor("address and route withdrawn: ", soon)
	cl.WaitFor("down: 10.1.1.0/24 overlaps this machine's DNS server "+elsewhere, soon)
	past("in the session")
	resolves(t, client, home)
	cl.WaitForNth("up: ", 2, soon)
	reaches(t, client, "10.1.1.1")

	// The server is down while the DNS server changes.
	stop(t, srv)
	cl.WaitForNth("down: ", 2, soon)
	resolves(t, client, elsewhere)
	cl.WaitForNth("address and route withdrawn: ", 2, soon)
	const refused = "contains this machine's DNS server " + elsewhere
	times := strings.Count(cl.Stderr(), refused)
	srv = bin.serve(t, server, "--plain")
	cl.WaitForNth(refused, times+1, soon)
	past("after a reconnection")
	resolves(t, client, home)
	cl.WaitForNth("up: ", 3, soon)
	stop(t, cl)

	resolves(t, client, elsewhere)
	cl = connect()
	if code := cl.Wait(soon); code != 9 || !strings.Contains(cl.Stderr(), refused) {
		t.Errorf("a later start: exit code %d\n%s", code, cl.Stderr())
	}
	past("a later start")

	// The user allows it.
	cl = connect("--network", "10.1.0.0/16")
	cl.WaitFor("up: ", soon)
	stop(t, cl)
	stop(t, srv)
	untouched(t, client, before)
}
