package e2e

import (
	"strings"
	"testing"

	"tunnel/transport"
)

// A client without TLS warns once for each server, unless the server is on its own machine.
func TestPlaintextWarning(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example", "127.0.0.1 own.example")
	bin := plainBuild(t)
	grant := func(int) transport.Connected { return grants("10.1.1.0/24", "10.1.1.3", "10.1.1.4") }
	startBadHub(t, server, transport.ComeBack(0), grant)
	startBadHub(t, client, transport.ComeBack(0), grant)
	for _, test := range []struct {
		urls []string
		want int
	}{
		{[]string{directURL}, 1},
		{[]string{"ws://server.example:8443"}, 1},
		// a line for each server, since either may be the one that answers
		{[]string{"ws://server.example:9", directURL}, 2},
		{[]string{"wss://198.51.100.1:9", directURL, "--allow-plain"}, 1},
		{[]string{"ws://127.0.0.1:8443"}, 0},
		{[]string{"ws://own.example:8443"}, 0},
	} {
		proc := bin.start(t, client, append([]string{"connect", "--token", token, "--state",
			t.TempDir()}, test.urls...)...)
		proc.WaitForNth("up: ", 3, soon)
		if n := strings.Count(proc.Stderr(),
			"level=WARN msg=\"ws:// is not encrypted: "); n != test.want {
			t.Errorf("%q: said %d times, want %d\n%s", test.urls, n, test.want, proc.Stderr())
		}
		stop(t, proc)
	}
}

// If the server with TLS does not answer, the client does not send its token to another one without
// TLS, unless --allow-plain is given.
func TestNoFallbackToPlaintext(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	hub := startBadHub(t, server, nil,
		func(int) transport.Connected { return grants("10.1.1.0/24", "10.1.1.3", "10.1.1.4") })
	failure{
		name: "ws:// beside wss://", args: []string{"connect", "wss://198.51.100.1:9", directURL,
			"--token", token, "--state", t.TempDir()},
		code: 2, step: "usage", says: "--allow-plain",
	}.check(t, client, bin)
	if n, _ := hub.served(); n != 0 {
		t.Errorf("the server without TLS had %d connections", n)
	}
}
