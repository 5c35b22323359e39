package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nhooyr.io/websocket"

	"tunnel/e2e/lab"
)

// machineOf returns a host's tables, its nftables ruleset and which interfaces forward.
func machineOf(t *testing.T, h *lab.Host) string {
	t.Helper()
	return tables(t, h) + h.Run("nft", "list", "ruleset") + h.Run("sh", "-c",
		"grep -H . /proc/sys/net/ipv4/conf/*/forwarding")
}

// withInternet is office with a public host behind the router. Both have routes to the office and
// to clients by the server, as a neighbor of the server may add them, and the office has one back.
func withInternet(t *testing.T) (server, client, inOffice, other, internet *lab.Host) {
	t.Helper()
	l := lab.New(t)
	server, client, inOffice, other, router := linkOffice(t, l)
	internet = l.Host("internet")
	l.Link(internet, "198.51.100.9/24", router, "198.51.100.1/24")
	internet.Run("ip", "route", "add", "default", "via", "198.51.100.1")
	for _, inside := range []string{"10.1.1.0/24", "192.168.7.0/24"} {
		router.Run("ip", "route", "add", inside, "via", "203.0.113.1")
	}
	inOffice.Run("ip", "route", "add", "198.51.100.0/24", "via", "192.168.7.1")
	return server, client, inOffice, other, internet
}

// answering sends an echo request to each address, waits for the replies of those that are to
// answer, and returns all that have.
func (c *rawClient) answering(addresses, expected []string) (from map[string]bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), soon)
	defer cancel()
	from = map[string]bool{}
	for round := range 2 { // in the second the first's late answers come
		for _, a := range addresses {
			c.write(websocket.MessageBinary, echoRequest(c.t, c.address, a, 8+round))
		}
		for left := len(expected); left > 0; {
			typ, data, err := c.conn.Read(ctx)
			if err != nil {
				c.t.Fatalf("of %v only %v answer: %v", expected, from, err)
			}
			for typ == websocket.MessageBinary && len(data) >= 20 {
				n := int(binary.BigEndian.Uint16(data[2:]))
				header := int(data[0]&15) * 4
				if n > len(data) || header+8 > n {
					c.t.Fatalf("a malformed record: %x", data)
				}
				source := fmt.Sprintf("%d.%d.%d.%d", data[12], data[13], data[14], data[15])
				if data[9] == 1 && data[header] == 0 {
					from[source] = true
					if n == header+16+round && slices.Contains(expected, source) {
						left--
					}
				}
				data = data[n:]
			}
		}
	}
	return from
}

// hears prints from where datagrams come, also if there is no way back; sends sends some to
// that, as one flow.
const (
	hears = `
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
while True:
    p = s.recv(99)
    if p[9] == 17 and p[22:24] == (9999).to_bytes(2, "big"): print(socket.inet_ntoa(p[12:16]))
`
	sends = `
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
for _ in range(1200):
    s.sendto(b"x", ("192.168.7.9", 9999))
    time.sleep(.05)
`
)

// TestMasquerade reaches public addresses and what is pushed by the hub, from hosts that have no
// route back, and nothing else of the hub's networks. A foreign table, the ruleset, sysctls and
// routes are the same before and after, also after SIGKILL.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	server, client, inOffice, other, internet := withInternet(t)
	const docker = "add table ip docker; add chain ip docker f " +
		"{ type filter hook forward priority 0; policy accept; }; " +
		"add rule ip docker f ct state new accept" // has the kernel track connections
	server.Run("nft", docker)
	before := machineOf(t, server)
	page := `server { listen 80; location / { return 200 "$remote_addr\n"; } }`
	startNginx(t, inOffice, page)
	bin, state := plainBuild(t), t.TempDir()
	start := func(flags ...string) *lab.Proc {
		t.Helper()
		srv := bin.start(t, server, append([]string{"serve", "--plain", "--state", state,
			"--push-route", "192.168.7.0/24"}, flags...)...)
		srv.WaitFor("clients may reach networks behind this machine", soon)
		return srv
	}
	srv := start("--masquerade")
	text := bin.token(t, server, state, "create", "laptop")
	raw := dialRawWith(t, client, "ws://203.0.113.1:8443", text)
	raw.connect()
	reached := []string{"10.1.1.1", "192.168.7.1", "192.168.7.9", "198.51.100.9"}
	hidden := []string{"192.168.8.9", "192.168.8.1", "203.0.113.1", "10.77.0.2", "169.254.1.1"}
	got := raw.answering(append(hidden, reached...), reached)
	for _, a := range hidden {
		if got[a] {
			t.Errorf("%s answers", a)
		}
	}
	_ = raw.conn.CloseNow()

	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	cl.WaitFor("networks=[192.168.7.0/24]", soon)
	if got := client.Run("curl", "-sS", "-m", "10", "http://192.168.7.9/"); got != "192.168.7.1\n" {
		t.Errorf("the client comes to the office as %q", got)
	}
	reaches(t, client, "198.51.100.9")
	address := strings.Fields(client.Run("ip", "-4", "-o", "address", "show", "dev", "tun0"))[3]
	reaches(t, server, address)
	server.Run("sysctl", "-w", "net.ipv4.conf.eth2.forwarding=1")
	cannotReach(t, other, address)
	cannotReach(t, internet, address)
	server.Run("sysctl", "-w", "net.ipv4.conf.eth2.forwarding=0")
	cannotReach(t, inOffice, "198.51.100.9")
	// Another program deletes all tables, as `systemctl restart nftables` does. A connection that
	// begins meanwhile is translated in the end, although it goes on.
	for n, began := 1, false; !began; n++ {
		server.Run("nft", "flush ruleset; "+docker)
		heard := inOffice.Start(python, "-uc", hears)
		sent := client.Start(python, "-c", sends, fmt.Sprint(4100+n))
		srv.WaitForNth("restored what something else on this machine has changed", n, soon)
		eventually(t, "the flow has the server's address", func() bool {
			return strings.HasSuffix(heard.Stdout(), "192.168.7.1\n")
		})
		began = strings.HasPrefix(heard.Stdout(), address)
		if n == 5 && !began {
			t.Fatal("no flow has begun before the table was back")
		}
		heard.Kill()
		sent.Kill()
	}
	cannotReach(t, inOffice, "198.51.100.9")
	cannotReach(t, internet, address)
	reaches(t, client, "198.51.100.9")
	stop(t, cl)
	stop(t, srv)
	if now := machineOf(t, server); now != before {
		t.Errorf("the server's host had\n%s\nand has\n%s", before, now)
	}

	// Only what goes to the office: public addresses are not reached.
	srv = start("--masquerade", "--masquerade-only", "192.168.7.0/24")
	raw = dialRawWith(t, client, "ws://203.0.113.1:8443", text)
	raw.connect()
	reached = []string{"10.1.1.1", "192.168.7.9"}
	if got := raw.answering([]string{"198.51.100.9", "192.168.7.9", "10.1.1.1"},
		reached); got["198.51.100.9"] {
		t.Error("a public address is reached")
	}
	_ = raw.conn.CloseNow()
	srv.Kill()
	srv = start("--masquerade")
	stop(t, srv)
	if now := machineOf(t, server); now != before {
		t.Errorf("after SIGKILL the server's host had\n%s\nand has\n%s", before, now)
	}
	start("--masquerade").Kill()
	if out, stderr, code := server.TryCommand(bin.command(server, "cleanup")); code != 0 {
		t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
	}
	if now := machineOf(t, server); now != before {
		t.Errorf("after cleanup the server's host had\n%s\nand has\n%s", before, now)
	}
}

// TestPolicyWhereAllForwards is that a client reaches only what its token has, on a machine that
// forwards everything by itself, and that this stays as it was.
func TestPolicyWhereAllForwards(t *testing.T) {
	t.Parallel()
	server, client, _, _ := office(t)
	server.Sysctl("net.ipv4.ip_forward", "1")
	before := machineOf(t, server)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state)
	srv.WaitFor("listening on ", soon)
	with := bin.token(t, server, state, "create", "with", "--push-route", "192.168.8.0/24")
	without := bin.token(t, server, state, "create", "without")
	srv.WaitFor("clients may reach networks behind this machine", soon)
	for text, reached := range map[string][]string{
		with: {"10.1.1.1", "192.168.8.9"}, without: {"10.1.1.1"},
	} {
		raw := dialRawWith(t, client, "ws://203.0.113.1:8443", text)
		raw.connect()
		got := raw.answering([]string{"192.168.8.9", "192.168.8.1", "10.1.1.1"}, reached)
		if has := got["192.168.8.9"]; has != (text == with) {
			t.Errorf("with the network %v: 192.168.8.9 answers %v", text == with, has)
		}
		_ = raw.conn.CloseNow()
	}
	bin.token(t, server, state, "revoke", "with")
	eventually(t, "the table is gone with the token", func() bool {
		return server.Run("nft", "list", "ruleset") == ""
	})
	stop(t, srv)
	if now := machineOf(t, server); now != before {
		t.Errorf("the server's host had\n%s\nand has\n%s", before, now)
	}
}

// TestPushedNetworksUnderLoad has 200 networks pushed and one more while a stream runs, which is
// not disturbed. The client stops as fast as with none, and leaves nothing behind.
func TestPushedNetworksUnderLoad(t *testing.T) {
	t.Parallel()
	server, client, inOffice, other := office(t)
	inOffice.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.7.1")
	before := tables(t, client)
	const size = 64 << 20
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, make([]byte, size), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	startNginx(t, inOffice, "server { listen 80; root "+dir+"; }")
	networks := []string{"192.168.7.0/24"}
	for i := range 199 {
		networks = append(networks, fmt.Sprintf("172.16.%d.0/24", i))
	}
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--push-route",
		strings.Join(networks, ","))
	srv.WaitFor("clients may reach networks behind this machine", soon)
	text := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	cl.WaitFor("up: ", soon)
	eventually(t, "the last network is routed", func() bool {
		return hasRoute(client, "192.168.7.0/24") && hasRoute(client, "172.16.198.0/24")
	})
	load := client.Start("curl", "-sS", "-m", "120", "--limit-rate", "8M", "-o", "/dev/null", "-w",
		"%{size_download} bytes\n", "http://192.168.7.9/file")
	bin.token(t, server, state, "set", "laptop", "--push-route", "192.168.8.0/24")
	eventually(t, "the network is routed", func() bool { return hasRoute(client, "192.168.8.0/24") })
	reaches(t, client, "192.168.8.9")
	reaches(t, other, "10.1.1.3")
	load.WaitFor(fmt.Sprint(size, " bytes"), soon)
	for _, lost := range []string{"not connected", "path to the server has changed"} {
		if strings.Contains(cl.Stderr(), lost) {
			t.Errorf("the client says %q", lost)
		}
	}
	cl.WaitFor(`cmd="ip route add 172.16.0.0/24 via 10.1.1.4 dev tun0"`, soon)
	stop(t, cl)
	if now := tables(t, client); now != before {
		t.Errorf("the client's host had\n%s\nand has\n%s", before, now)
	}
	cl = bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	eventually(t, "the last network is routed again", func() bool {
		return hasRoute(client, "192.168.8.0/24")
	})
	cl.Kill()
	if out, stderr, code := client.TryCommand(bin.command(client, "cleanup")); code != 0 {
		t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
	}
	if now := tables(t, client); now != before {
		t.Errorf("after cleanup the client's host had\n%s\nand has\n%s", before, now)
	}
	stop(t, srv)
}

// TestClampOfHub has a client whose tunnel takes larger packets than the hub's, and a host behind
// the hub that hears nothing of paths with smaller packets: their TCP works in both directions.
func TestClampOfHub(t *testing.T) {
	t.Parallel()
	server, client, inOffice, _ := office(t)
	inOffice.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.7.1")
	inOffice.Run("nft", "add table ip t; add chain ip t in { type filter hook input priority 0; }; "+
		"add rule ip t in icmp type destination-unreachable icmp code frag-needed drop")
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--push-route",
		"192.168.7.0/24")
	srv.WaitFor("clients may reach networks behind this machine", soon)
	text := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), "--mtu", "1500",
		routedURL)
	cl.WaitFor("networks=[192.168.7.0/24]", soon)
	files(t, inOffice, client, "10.1.1.3")
	files(t, client, inOffice, "192.168.7.9")
	stop(t, cl)
	stop(t, srv)
}

// TestInterfaceComesLater is a network behind the hub that another interface leads to than at the
// start.
func TestInterfaceComesLater(t *testing.T) {
	t.Parallel()
	server, client, _, _ := office(t)
	server.Run("ip", "link", "set", "eth2", "down")
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--push-route",
		"192.168.8.0/24")
	srv.WaitFor("clients may reach networks behind this machine", soon)
	text := bin.token(t, server, state, "create", "laptop")
	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	cl.WaitFor("networks=[192.168.8.0/24]", soon)
	server.Run("ip", "link", "set", "eth2", "up")
	eventually(t, "eth2 forwards", func() bool {
		return server.Run("cat", "/proc/sys/net/ipv4/conf/eth2/forwarding") == "1\n"
	})
	reaches(t, client, "192.168.8.9")
	stop(t, cl)
	stop(t, srv)
}

// TestForwardingRefused has one line each for a machine without nft and one with a read-only
// /proc/sys. The hub goes on, but not with --masquerade without nft.
func TestForwardingRefused(t *testing.T) {
	t.Parallel()
	server, _, _, _ := office(t)
	bin := plainBuild(t)
	dir := t.TempDir()
	if err := os.Symlink("/sbin/ip", filepath.Join(dir, "ip")); err != nil {
		t.Fatal(err)
	}
	noNft := []string{"env", "PATH=" + dir}
	readOnly := []string{"unshare", "-m", "sh", "-c",
		`mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"`, "sh"}
	before := machineOf(t, server)
	args := func(flags ...string) []string {
		return append([]string{"serve", "--plain", "--state", t.TempDir(), "--push-route",
			"192.168.7.0/24"}, flags...)
	}
	failure{name: "masquerade without nft", args: args("--masquerade"), wrap: noNft, code: 15,
		step: "firewall", says: "nft"}.check(t, server, bin)
	for _, test := range []struct {
		wrap, flags []string
		says        string
	}{
		{noNft, nil, "nft"},
		{readOnly, nil, "--sysctl net.ipv4.ip_forward=1"},
		{readOnly, []string{"--masquerade"}, "--sysctl net.ipv4.ip_forward=1"},
	} {
		srv := bin.startWrapped(t, server, test.wrap, args(test.flags...)...)
		srv.WaitFor("listening on ", soon)
		line := srv.WaitFor("does not forward packets of clients", soon)
		if !strings.Contains(line, test.says) {
			t.Errorf("%v: %s", test.wrap, line)
		}
		srv.Signal(syscall.SIGTERM)
		srv.Wait(soon)
		if n := strings.Count(srv.Stderr(), "does not forward packets of clients"); n != 1 {
			t.Errorf("%v: %d lines\n%s", test.wrap, n, srv.Stderr())
		}
		if now := machineOf(t, server); now != before {
			t.Errorf("%v: the server's host had\n%s\nand has\n%s", test.wrap, before, now)
		}
	}
}
