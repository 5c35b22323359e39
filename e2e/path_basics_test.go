package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The documented commands on two hosts make the documented tables, carry packets in both
// directions, and leave nothing. Not parallel: it measures how long the program takes to end.
func TestDocumentedSetup(t *testing.T) {
	server, client := direct(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--listen", directServer+":8443")
	hook := filepath.Join(t.TempDir(), "hook")
	cl := bin.connect(t, client, directURL,
		"--on-up", `echo "up $TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER" >>`+hook,
		"--on-down", `echo "down $TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER" >>`+hook)

	wantLines(t, "stdout of serve", srv.Stdout(),
		"listening on 198.51.100.1:8443, network 10.1.1.0/24, dev tun0, address 10.1.1.1 peer "+
			"10.1.1.2")
	wantLines(t, "stdout of connect", cl.Stdout(),
		"up: dev tun0, address 10.1.1.3 peer 10.1.1.4, network 10.1.1.0/24, mtu 1400")
	wantCommands(t, srv,
		"ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
		"ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0")
	wantCommands(t, cl, // no gateway on the path, so no route to the server
		"ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0")

	wantLines(t, "ip route on the server", server.Run("ip", "-4", "route"),
		"10.1.1.0/24 via 10.1.1.2 dev tun0",
		"10.1.1.2 dev tun0 proto kernel scope link src 10.1.1.1")
	wantLines(t, "ip route on the client", client.Run("ip", "-4", "route"),
		"10.1.1.0/24 via 10.1.1.4 dev tun0",
		"10.1.1.4 dev tun0 proto kernel scope link src 10.1.1.3")
	wantLines(t, "ifconfig on the server", server.Run("ifconfig", "tun0"),
		"inet 10.1.1.1 netmask 255.255.255.255 destination 10.1.1.2")
	wantLines(t, "ifconfig on the client", client.Run("ifconfig", "tun0"),
		"inet 10.1.1.3 netmask 255.255.255.255 destination 10.1.1.4")
	for _, want := range []string{"mtu 1400", "txqueuelen 100 "} {
		if text := client.Run("ifconfig", "tun0"); !strings.Contains(text, want) {
			t.Errorf("ifconfig on the client lacks %q:\n%s", want, text)
		}
	}
	wantLines(t, "route on the server", server.Run("route", "-n"),
		"10.1.1.0 10.1.1.2 255.255.255.0 UG 0 0 0 tun0",
		"10.1.1.2 0.0.0.0 255.255.255.255 UH 0 0 0 tun0")
	wantLines(t, "route on the client", client.Run("route", "-n"),
		"10.1.1.0 10.1.1.4 255.255.255.0 UG 0 0 0 tun0",
		"10.1.1.4 0.0.0.0 255.255.255.255 UH 0 0 0 tun0")

	reaches(t, client, "10.1.1.1")
	reaches(t, server, "10.1.1.3")

	stopInTime(t, cl)
	untouched(t, client, clientBefore)
	text, err := os.ReadFile(hook)
	if want := "up tun0 10.1.1.3 10.1.1.4\ndown tun0 10.1.1.3 10.1.1.4\n"; err != nil ||
		string(text) != want {
		t.Errorf("hooks wrote %q (%v), want %q", text, err, want)
	}
	stopInTime(t, srv)
	untouched(t, server, serverBefore)
}

// Real programs' traffic of every kind crosses in both directions.
func TestTraffic(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL)

	iperf(t, client, server, "10.1.1.1")
	iperf(t, client, server, "10.1.1.1", "-R")
	iperf(t, server, client, "10.1.1.3")
	iperf(t, client, server, "10.1.1.1", "-u", "-b", "20M")
	sendFile(t, client, server, "10.1.1.1", 20<<20)
	sendFile(t, server, client, "10.1.1.3", 20<<20)
	fetchFile(t, client, server, "10.1.1.1", 20<<20)
	if n := len(stdoutLines(cl, "up: ")); n != 1 {
		t.Errorf("the client came up %d times:\n%s", n, cl.Stderr())
	}
}

// Packets of the MTU pass, larger ones are fragmented or refused.
func TestPacketSizes(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)

	for _, d := range []struct {
		from string
		ping func(flags ...string) (string, string, int)
	}{
		{"client", func(f ...string) (string, string, int) {
			return client.Try(append(append([]string{"ping", "-n", "-c2", "-i0.2", "-W5"}, f...),
				"10.1.1.1")...)
		}},
		{"server", func(f ...string) (string, string, int) {
			return server.Try(append(append([]string{"ping", "-n", "-c2", "-i0.2", "-W5"}, f...),
				"10.1.1.3")...)
		}},
	} {
		// 20 bytes of IP header and 8 of ICMP make 1400.
		if out, stderr, code := d.ping("-M", "do", "-s", "1372"); code != 0 {
			t.Errorf("1400 bytes from the %s do not pass\n%s%s", d.from, out, stderr)
		}
		out, stderr, code := d.ping("-M", "do", "-s", "1373", "-W1")
		if code == 0 || !strings.Contains(out+stderr, "mtu=1400") {
			t.Errorf(
				"1401 bytes from the %s: exit code %d, want a refusal by the host itself\n%s%s",
				d.from, code, out, stderr)
		}
		if out, stderr, code := d.ping("-s", "8000"); code != 0 { // in fragments
			t.Errorf("8028 bytes from the %s do not pass\n%s%s", d.from, out, stderr)
		}
		if out, stderr, code := d.ping("-s", "0"); code != 0 {
			t.Errorf("28 bytes from the %s do not pass\n%s%s", d.from, out, stderr)
		}
	}
}

// A server that is stopped tells its clients, which say so. Not parallel: it measures how long the
// program takes to end.
func TestServerStopTellsClients(t *testing.T) {
	server, client := direct(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL)

	stopInTime(t, srv)
	untouched(t, server, serverBefore)
	if line := cl.WaitFor("down: ", soon); !strings.Contains(line, "the server stops") {
		t.Errorf("the client says %q, want the server's reason", line)
	}
	wantLines(t, "ip route on the client, which keeps its device", client.Run("ip", "-4", "route"),
		"10.1.1.0/24 via 10.1.1.4 dev tun0")
	stopInTime(t, cl) // while it tries to reconnect
	untouched(t, client, clientBefore)
}

// A client that is stopped tells the server why, and has the same address when it comes from
// another host.
func TestClientStopTellsServer(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	state := t.TempDir()
	one := bin.connect(t, clients[0], directURL, "--address", "10.1.1.7", "--state", state)
	wantLines(t, "stdout of connect", one.Stdout(),
		"up: dev tun0, address 10.1.1.7 peer 10.1.1.8, network 10.1.1.0/24, mtu 1400")
	stop(t, one)
	srv.WaitFor("the client stops", soon)
	two := bin.connect(t, clients[1], directURL, "--address", "10.1.1.7", "--state", state)
	wantLines(t, "stdout of connect", two.Stdout(),
		"up: dev tun0, address 10.1.1.7 peer 10.1.1.8, network 10.1.1.0/24, mtu 1400")
}

// Client and server have devices of other names and sizes.
func TestOverrides(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--dev", "hub", "--mtu", "1300", "--qlen", "500",
		"--network", "10.9.0.0/16", "--path", "/private/net", "--listen", ":80")
	state := t.TempDir()
	cl := bin.connect(t, client, "ws://198.51.100.1/private/net", "--state", state, "--dev",
		"vpn-to-hub", "--qlen", "700")
	wantLines(t, "stdout of connect", cl.Stdout(),
		"up: dev vpn-to-hub, address 10.9.0.3 peer 10.9.0.4, network 10.9.0.0/16, mtu 1300")
	wantCommands(t, srv,
		"ip link set dev hub up mtu 1300 qlen 500",
		"ip addr add dev hub local 10.9.0.1 peer 10.9.0.2",
		"ip route add 10.9.0.0/16 via 10.9.0.2 dev hub")
	wantCommands(t, cl,
		"ip link set dev vpn-to-hub up mtu 1300 qlen 700",
		"ip addr add dev vpn-to-hub local 10.9.0.3 peer 10.9.0.4",
		"ip route add 10.9.0.0/16 via 10.9.0.4 dev vpn-to-hub")
	reaches(t, client, "10.9.0.1")
	stop(t, cl)
	cl = bin.connect(t, client, "ws://198.51.100.1/private/net", "--state", state, "--dev",
		"vpn-to-hub", "--mtu", "1280")
	wantLines(t, "stdout of connect", cl.Stdout(),
		"up: dev vpn-to-hub, address 10.9.0.3 peer 10.9.0.4, network 10.9.0.0/16, mtu 1280")
}
