package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// office is routed, with two networks behind the server: 192.168.7.0/24 with the host office, and
// 192.168.8.0/24 with the host other, which has its route back by the server. The server does not
// forward packets by itself.
func office(t *testing.T) (server, client, inOffice, other *lab.Host) {
	t.Helper()
	server, client, inOffice, other, _ = linkOffice(t, lab.New(t))
	return server, client, inOffice, other
}

// linkOffice makes office in a lab, and returns its router, too.
func linkOffice(t *testing.T, l *lab.Lab) (server, client, inOffice, other, router *lab.Host) {
	t.Helper()
	server, client, router = l.Host("server"), l.Host("client"), l.Host("router")
	inOffice, other = l.Host("office"), l.Host("other")
	l.Link(server, "203.0.113.1/24", router, "203.0.113.254/24")
	l.Link(client, "10.77.0.2/24", router, "10.77.0.1/24")
	l.Link(server, "192.168.7.1/24", inOffice, "192.168.7.9/24")
	l.Link(server, "192.168.8.1/24", other, "192.168.8.9/24")
	router.Sysctl("net.ipv4.ip_forward", "1")
	server.Sysctl("net.ipv4.ip_forward", "0")
	server.Run("ip", "route", "add", "default", "via", "203.0.113.254")
	client.Run("ip", "route", "add", "default", "via", "10.77.0.1")
	other.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.8.1")
	noJournals(t, server, client)
	return server, client, inOffice, other, router
}

// hasRoute reports whether a host's main table has a route to a network by the tunnel.
func hasRoute(h *lab.Host, network string) bool {
	return regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(network) + ` via 10\.1\.1\.\d+ dev tun0`).
		MatchString(h.Run("ip", "-4", "route"))
}

// TestPushedRoute reaches a web server behind the hub from a laptop, and what is not pushed neither
// reaches nor is reached from, although the hub's kernel forwards everything.
func TestPushedRoute(t *testing.T) {
	t.Parallel()
	server, client, inOffice, other := office(t)
	before, serverBefore := tables(t, client), machineOf(t, server)
	page := `server { listen 80; location / { return 200 "behind the hub\n"; } }`
	startNginx(t, inOffice, page)
	startNginx(t, other, page)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--push-route",
		"192.168.7.0/24")
	srv.WaitFor("listening on ", soon)
	text := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	cl.WaitFor("up: ", soon)
	cl.WaitFor("networks=[192.168.7.0/24]", soon)
	if !hasRoute(client, "192.168.7.0/24") {
		t.Fatalf("the client has no route to 192.168.7.0/24:\n%s", client.Run("ip", "route"))
	}

	// Without it hosts do not answer.
	line := srv.WaitFor("a route back", soon)
	cannotReach(t, client, "192.168.7.9")
	back := regexp.MustCompile(`route_back="(ip route add [^",]+)"`).FindStringSubmatch(line)
	if back == nil {
		t.Fatalf("the server's line has no route for the hosts of the office: %s", line)
	}
	inOffice.Run(strings.Fields(back[1])...)
	fetch := func(address string) {
		t.Helper()
		if got := client.Run("curl", "-sS", "-m", "10", "http://"+address+"/"); got !=
			"behind the hub\n" {
			t.Errorf("%s answers %q", address, got)
		}
	}
	fetch("192.168.7.9")
	reaches(t, inOffice, "10.1.1.3")

	// Whatever routes the client adds by itself, and whatever the kernel forwards.
	server.Run("sysctl", "-w", "net.ipv4.conf.eth2.forwarding=1")
	client.Run("ip", "route", "add", "192.168.8.0/24", "via", "10.1.1.4", "dev", "tun0")
	cannotReach(t, client, "192.168.8.9")
	cannotReach(t, other, "10.1.1.3")
	client.Run("ip", "route", "del", "192.168.8.0/24", "via", "10.1.1.4", "dev", "tun0")

	// The token gets it while the client is connected.
	bin.token(t, server, state, "set", "laptop", "--push-route", "192.168.8.0/24")
	cl.WaitFor("networks=\"[192.168.7.0/24 192.168.8.0/24]\"", soon)
	fetch("192.168.8.9")
	reaches(t, other, "10.1.1.3")
	bin.token(t, server, state, "set", "laptop", "--push-route", "none")
	eventually(t, "the route is withdrawn", func() bool {
		return !hasRoute(client, "192.168.8.0/24")
	})
	cannotReach(t, other, "10.1.1.3")
	fetch("192.168.7.9")
	if n := len(stdoutLines(cl, "up: ")); n != 1 {
		t.Errorf("the client was up %d times", n)
	}

	stop(t, cl)
	if now := tables(t, client); now != before {
		t.Errorf("the client's host had\n%s\nand has\n%s", before, now)
	}
	server.Run("sysctl", "-w", "net.ipv4.conf.eth2.forwarding=0")
	stop(t, srv)
	if now := machineOf(t, server); now != serverBefore {
		t.Errorf("the server's host had\n%s\nand has\n%s", serverBefore, now)
	}
	const reason = "drops.destination="
	if at := strings.Index(srv.Stderr(), reason); at < 0 || srv.Stderr()[at+len(reason)] == '0' {
		t.Errorf("nothing is counted as %s\n%s", reason, srv.Stderr())
	}
}

// TestPushedRouteChoice is what a client's flags make of what is pushed, and what this machine has.
func TestPushedRouteChoice(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	clients[0].Run("ip", "route", "add", "192.168.7.0/25", "via", "198.51.100.1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--push-route", "192.168.6.0/23,172.16.0.0/12",
		"--push-route", "8.8.8.0/24")
	for i, test := range []struct {
		flags    []string
		has, not []string
		says     []string
	}{
		{nil, []string{"172.16.0.0/12"}, []string{"192.168.6.0/23", "8.8.8.0/24"}, []string{
			"give --accept PREFIX for those that it is to take\" networks=[8.8.8.0/24]",
			"a network is not routed into the tunnel: this machine has it elsewhere\" dev=tun0 " +
				"network=192.168.6.0/23"}},
		{[]string{"--accept", "8.8.0.0/16", "--exclude", "192.168.6.0/24"},
			[]string{"8.8.8.0/24", "192.168.7.0/24", "172.16.0.0/12"}, []string{"192.168.6.0/23"},
			[]string{"networks behind the server"}},
		{[]string{"--no-routes"}, []string{"10.1.1.0/24"}, []string{"192.168.6.0/23",
			"172.16.0.0/12", "8.8.8.0/24"}, nil},
	} {
		cl := bin.connect(t, clients[i], "ws://198.51.100.1:8443", test.flags...)
		for _, line := range test.says {
			cl.WaitFor(line, soon)
		}
		for _, network := range test.has {
			eventually(t, network+" is routed", func() bool {
				return hasRoute(clients[i], network)
			})
		}
		for _, network := range test.not {
			if hasRoute(clients[i], network) {
				t.Errorf("%v: has a route to %s", test.flags, network)
			}
		}
	}
	// When the overlap ends the route comes.
	clients[0].Run("ip", "route", "del", "192.168.7.0/25", "via", "198.51.100.1")
	eventually(t, "192.168.6.0/23 is routed", func() bool {
		return hasRoute(clients[0], "192.168.6.0/23")
	})
}

// TestNetworkBehindClient reaches a network behind a client from the hub's machine and from another
// client, as long as its token is good.
func TestNetworkBehindClient(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	before := tables(t, server)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--client-to-client")
	srv.WaitFor("listening on ", soon)
	site := bin.token(t, server, state, "create", "site", "--route", "192.168.50.0/24")
	laptop := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, clients[0], "connect", "--token", laptop, "--state", t.TempDir(),
		"ws://198.51.100.1:8443")
	cl.WaitFor("up: ", soon)

	py := advertise(t, clients[1], site, "192.168.50.0/24 192.168.60.0/24")
	srv.WaitFor("its token does not allow them", soon)
	for _, h := range []*lab.Host{server, clients[0]} {
		eventually(t, h.Name()+" has the route", func() bool { return hasRoute(h, "192.168.50.0/24") })
		reaches(t, h, "192.168.50.9")
	}
	if !strings.Contains(server.Run("ip", "-4", "route"), "192.168.50.0/24 via 10.1.1.2 dev tun0") {
		t.Errorf("the server's routes:\n%s", server.Run("ip", "-4", "route"))
	}
	wantCommands(t, srv, "ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
		"ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0",
		"ip route add 192.168.50.0/24 via 10.1.1.2 dev tun0")
	// A token cannot have what the server has.
	_, stderr, code := server.TryCommand(bin.command(server, "token", "create", "x", "--route",
		"198.51.100.0/25", "--state", state))
	if code != 2 || !strings.Contains(stderr, "198.51.100.0/25 cannot lie behind a client") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	py.Kill()
	srv.WaitFor(leftMessage, soon)
	if !hasRoute(server, "192.168.50.0/24") || !hasRoute(clients[0], "192.168.50.0/24") {
		t.Error("the routes go with the connection")
	}
	bin.token(t, server, state, "revoke", "site")
	for _, h := range []*lab.Host{server, clients[0]} {
		eventually(t, h.Name()+" has no route", func() bool {
			return !hasRoute(h, "192.168.50.0/24")
		})
	}
	stop(t, cl)
	stop(t, srv)
	if now := tables(t, server); now != before {
		t.Errorf("the server's host had\n%s\nand has\n%s", before, now)
	}
}

// advertise starts a client of star's server that answers pings to the networks that it advertises.
func advertise(t *testing.T, h *lab.Host, text, networks string) *lab.Proc {
	t.Helper()
	program, err := os.ReadFile("client.py")
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(python, "-", "ws://198.51.100.1:8443/ws")
	cmd.Stdin = strings.NewReader(string(program))
	cmd.Env = append(cmd.Env, "TUNNEL_TOKEN="+text, "TUNNEL_ADVERTISE="+networks)
	proc := h.StartCommand(cmd)
	proc.WaitFor("connected", soon)
	return proc
}

// TestNetworkIsAway has the hub's machine and another client told that a network cannot be reached,
// when its client has been away for longer than packets are held, and reach it when that is back.
func TestNetworkIsAway(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--client-to-client")
	srv.WaitFor("listening on ", soon)
	site := bin.token(t, server, state, "create", "site", "--route", "192.168.50.0/24")
	laptop := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, clients[0], "connect", "--token", laptop, "--state", t.TempDir(),
		"ws://198.51.100.1:8443")
	cl.WaitFor("up: ", soon)
	advertise(t, clients[1], site, "192.168.50.0/24").Kill()
	srv.WaitFor(leftMessage, soon)
	const held = 2 * time.Minute // of docs/PROTOCOL.md
	end := time.Now().Add(held + 2*soon)
	for h, from := range map[*lab.Host]string{server: "10.1.1.2", clients[0]: "10.1.1.1"} {
		want := "From " + from + " icmp_seq=1 Destination Host Unreachable"
		for out := ""; !strings.Contains(out, want); {
			if out, _, _ = h.Try("ping", "-n", "-c1", "-W3", "192.168.50.9"); time.Now().After(end) {
				t.Fatalf("%s is not told %q:\n%s", h.Name(), want, out)
			}
		}
	}
	py := advertise(t, clients[1], site, "192.168.50.0/24")
	reaches(t, server, "192.168.50.9")
	reaches(t, clients[0], "192.168.50.9")
	py.Kill()
}
