package e2e

import (
	"os"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// A server that routes a network behind a client is killed: its journal has the route, and the next
// start removes what is left and routes the network again once its client is back.
func TestServerKilledWithNetworks(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	before := tables(t, server)
	bin, state := plainBuild(t), t.TempDir()
	serve := func() *lab.Proc {
		t.Helper()
		srv := bin.start(t, server, "serve", "--plain", "--state", state)
		srv.WaitFor("listening on ", soon)
		return srv
	}
	srv := serve()
	site := bin.token(t, server, state, "create", "site", "--route", "192.168.50.0/24")
	advertise(t, clients[0], site, "192.168.50.0/24")
	routed := func() bool { return hasRoute(server, "192.168.50.0/24") }
	eventually(t, "the server has the route", routed)
	srv.Kill()
	eventually(t, "the route of a killed server is gone", func() bool { return !routed() })
	left := journals(t, server)
	if len(left) != 1 {
		t.Fatalf("journals after the kill: %q, want one", left)
	}
	if text, err := os.ReadFile(left[0]); err != nil ||
		!strings.Contains(string(text), "192.168.50.0/24") {
		t.Errorf("the journal has no route to the network: %s, %v", text, err)
	}

	srv = serve()
	advertise(t, clients[1], site, "192.168.50.0/24")
	eventually(t, "the server has the route again", routed)
	reaches(t, server, "192.168.50.9")
	stop(t, srv)
	untouched(t, server, before)
	serve().Kill()
	if out, stderr, code := server.TryCommand(bin.command(server, "cleanup")); code != 0 {
		t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
	}
	untouched(t, server, before)
}

// A client is told of DNS servers and domains, and of changes to those of its token.
func TestPushedDNS(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 1)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state,
		"--dns", "10.1.1.1,192.168.7.53", "--dns-domain", "Corp.example.")
	srv.WaitFor("listening on ", soon)
	text := bin.token(t, server, state, "create", "laptop", "--dns-domain", "lab.example")
	cl := advertise(t, clients[0], text, "")
	cl.WaitFor(`"dns":["10.1.1.1","192.168.7.53"],"domains":["corp.example","lab.example"]`, soon)
	bin.token(t, server, state, "set", "laptop", "--dns", "172.16.0.53", "--dns-domain", "none")
	cl.WaitFor(`"dns":["172.16.0.53"],"domains":["corp.example"]`, soon)
	cl.Kill()
}
