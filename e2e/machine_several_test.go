package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// One client host is in two networks of one server host at once, and each run changes only what is
// its own.
func TestTwoNetworks(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	bin := plainBuild(t)
	one := bin.serve(t, server, "--plain")
	two := bin.serve(t, server, "--plain", "--listen", ":8444", "--network", "10.2.2.0/24", "--dev",
		"tun1")
	state := t.TempDir() // shared, as by default
	onOne := bin.connect(t, client, routedURL, "--state", state)
	onTwo := bin.connect(t, client, "ws://203.0.113.1:8444", "--state", state, "--dev", "tun1")
	for _, address := range []string{"10.1.1.1", "10.2.2.1"} {
		reaches(t, client, address)
	}
	stop(t, onOne)
	reaches(t, client, "10.2.2.1")
	stop(t, two)
	onTwo.WaitFor("down: ", soon)
	onOne = bin.connect(t, client, routedURL, "--state", state)
	reaches(t, client, "10.1.1.1")
	stop(t, onTwo)
	reaches(t, client, "10.1.1.1")
	stop(t, onOne)
	untouched(t, client, clientBefore)
	stop(t, one)
	untouched(t, server, serverBefore)
}

// A second client on the device of the first is refused and does no harm.
func TestSameDeviceTwice(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, routedURL)
	before := tables(t, client)
	_, stderr, code := client.TryCommand(bin.command(client, "connect", "--token", token, "--state",
		t.TempDir(), "--log-level", "error", routedURL))
	if code != 10 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "tun0") {
		t.Errorf("exit code %d, want 10\n%s", code, stderr)
	}
	if now := tables(t, client); now != before {
		t.Errorf("the tables changed\n%s\nnow\n%s", before, now)
	}
	reaches(t, client, "10.1.1.1")
}

// A client moves from one router to another, as a laptop from a cable to a wireless network: its
// route to the server is moved.
func TestGatewayChanges(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	sw, server, client, one, two := l.Switch("switch"), l.Host("server"), l.Host("client"),
		l.Host("one"), l.Host("two")
	l.Attach(server, "203.0.113.1/24", sw)
	l.Attach(one, "203.0.113.254/24", sw)
	l.Attach(two, "203.0.113.253/24", sw)
	l.Link(client, "10.77.0.2/24", one, "10.77.0.1/24")
	l.Link(client, "10.88.0.2/24", two, "10.88.0.1/24")
	noJournals(t, server, client)
	for _, router := range []*lab.Host{one, two} {
		router.Sysctl("net.ipv4.ip_forward", "1")
	}
	server.Run("ip", "route", "add", "10.77.0.0/24", "via", "203.0.113.254")
	server.Run("ip", "route", "add", "10.88.0.0/24", "via", "203.0.113.253")
	client.Run("ip", "route", "add", "default", "via", "10.77.0.1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--ping-interval", "500ms")
	cl := bin.connect(t, client, routedURL)
	index := device(client, "tun0")

	client.Run("ip", "route", "replace", "default", "via", "10.88.0.1")
	one.Sysctl("net.ipv4.ip_forward", "0")
	cl.WaitForNth("up: ", 2, 2*soon)
	reaches(t, client, "10.1.1.1")
	if now := routes(client, "show", "203.0.113.1"); len(now) != 1 ||
		now[0] != "203.0.113.1 via 10.88.0.1 dev eth1" {
		t.Errorf("the routes to the server are %q, want one through the new router", now)
	}
	if now := device(client, "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
	stop(t, cl)
	if now := routes(client, "show", "203.0.113.1"); len(now) != 0 {
		t.Errorf("routes to the server are left: %q", now)
	}
}

// The server is reached over IPv6; the network inside does not change.
func TestOverIPv6(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	server.Run("ip", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	client.Run("ip", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
	client.Hosts("2001:db8::1 server.example")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	state := t.TempDir()
	for _, url := range []string{"ws://[2001:db8::1]:8443", "ws://server.example:8443"} {
		before := tables(t, client)
		cl := bin.connect(t, client, url, "--state", state)
		reaches(t, client, "10.1.1.1")
		stop(t, cl)
		untouched(t, client, before)
	}
}

// A name has two addresses, and the first does not answer.
func TestSecondAddress(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	client.Hosts("203.0.113.77 server.example", "203.0.113.1 server.example")
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, "ws://server.example:8443")
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	untouched(t, client, before)
}
