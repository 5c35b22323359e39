package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// A site is a network 192.168.1.0/24 with a host, whose router is a client.
type site struct{ router, host *lab.Host }

// twoSites are two sites with the same network, a hub, and a laptop. The hosts know nothing of
// paths with smaller packets: they drop what ICMP says of them.
func twoSites(t *testing.T) (hub *lab.Host, a, b site, laptop *lab.Host) {
	t.Helper()
	l := lab.New(t)
	sw := l.Switch("switch")
	hub, laptop = l.Host("hub"), l.Host("laptop")
	l.Attach(hub, "198.51.100.1/24", sw)
	l.Attach(laptop, "198.51.100.9/24", sw)
	made := func(name, public string) site {
		s := site{l.Host(name), l.Host(name + "host")}
		l.Attach(s.router, public, sw)
		l.Link(s.router, "192.168.1.1/24", s.host, "192.168.1.9/24")
		s.host.Run("ip", "route", "add", "default", "via", "192.168.1.1")
		s.host.Run("nft", "add table ip t; add chain ip t in { type filter hook input priority 0; }; "+
			"add rule ip t in icmp type destination-unreachable icmp code frag-needed drop")
		s.router.Sysctl("net.ipv4.ip_forward", "0")
		return s
	}
	a, b = made("a", "198.51.100.2/24"), made("b", "198.51.100.3/24")
	hub.Sysctl("net.ipv4.ip_forward", "0")
	noJournals(t, hub, laptop, a.router, b.router)
	return hub, a, b, laptop
}

// forwarding is what a client that is a router changes of its machine.
func forwarding(t *testing.T, h *lab.Host) string {
	t.Helper()
	return tables(t, h) + h.Run("nft", "list", "ruleset") +
		h.Run("sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/forwarding")
}

// echoes exchanges 300 datagrams with an echo at addr, of sizes up to 1201 bytes, and compares
// the checksums of what is sent and of what comes back.
func echoes(t *testing.T, from, to *lab.Host, addr string) {
	t.Helper()
	server := to.Start(python, "-u", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9001))
print("ready")
while True:
    data, peer = s.recvfrom(2000)
    s.sendto(data, peer)`)
	server.WaitFor("ready", soon)
	defer server.Kill()
	out, stderr, code := from.Try(python, "-c", `
import hashlib, os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(2)
s.connect((sys.argv[1], 9001))
there, back = hashlib.sha256(), hashlib.sha256()
for i in range(300):
    data = i.to_bytes(4, "big") + os.urandom(4 * i + 1)
    there.update(data)
    for attempt in range(5):
        s.send(data)
        try:
            got = s.recv(2000)
            while got[:4] != data[:4]: got = s.recv(2000)
            break
        except socket.timeout: got = b""
    back.update(got)
print("same" if there.digest() == back.digest() else "different")`, addr)
	if code != 0 || !strings.Contains(out, "same") {
		t.Errorf("UDP %s → %s: exit code %d\n%s%s", from.Name(), addr, code, out, stderr)
	}
}

// files sends a file by TCP to addr, which is the host to, and compares checksums.
func files(t *testing.T, from, to *lab.Host, addr string) {
	t.Helper()
	path, want := randomFile(t, 3<<20)
	receiver := to.Start("sh", "-c", "nc -d -l 9000 | sha256sum")
	listening(t, to, 9000)
	_, stderr, code := from.Try("sh", "-c", "exec timeout 20 nc -N "+addr+" 9000 <"+path)
	if code != 0 {
		t.Errorf("nc %s → %s: exit code %d %s", from.Name(), addr, code, stderr)
		receiver.Kill()
		return
	}
	if code := receiver.Wait(soon); code != 0 || !strings.HasPrefix(receiver.Stdout(), want) {
		t.Errorf("nc %s → %s: exit code %d, checksum %q, want %s", from.Name(), addr, code,
			receiver.Stdout(), want)
	}
}

// TestSameNetworks joins two sites with the same network, whose hosts reach each other by addresses
// that are translated one to one.
func TestSameNetworks(t *testing.T) {
	t.Parallel()
	hub, a, b, laptop := twoSites(t)
	before := forwarding(t, a.router)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, hub, "serve", "--plain", "--state", state, "--client-to-client")
	srv.WaitFor("listening on ", soon)
	join := func(h *lab.Host, name, as string, flags ...string) *lab.Proc {
		t.Helper()
		text := bin.token(t, hub, state, "create", name, "--route", as)
		return bin.start(t, h, append([]string{"connect", "--token", text, "--state", t.TempDir(),
			"--advertise", "192.168.1.0/24=" + as, "ws://198.51.100.1:8443"}, flags...)...)
	}
	atA := join(a.router, "a", "10.50.1.0/24")
	atB := join(b.router, "b", "10.50.2.0/24")
	atA.WaitFor("networks=[10.50.2.0/24]", soon)
	atB.WaitFor("networks=[10.50.1.0/24]", soon)
	both := func() {
		t.Helper()
		files(t, a.host, b.host, "10.50.2.9")
		files(t, b.host, a.host, "10.50.1.9")
		echoes(t, a.host, b.host, "10.50.2.9")
		echoes(t, b.host, a.host, "10.50.1.9")
	}
	both()
	// A laptop reaches both, as does the hub, and not by the addresses that they have there.
	bin.start(t, laptop, "connect", "--token", bin.token(t, hub, state, "create", "laptop"),
		"--state", t.TempDir(), "ws://198.51.100.1:8443").WaitFor("up: ", soon)
	for _, h := range []*lab.Host{laptop, hub} {
		eventually(t, h.Name()+" has the routes", func() bool {
			return hasRoute(h, "10.50.1.0/24") && hasRoute(h, "10.50.2.0/24")
		})
		reaches(t, h, "10.50.1.9")
		reaches(t, h, "10.50.2.9")
	}
	hub.Run("ip", "route", "add", "192.168.1.0/24", "via", "10.1.1.2", "dev", "tun0")
	cannotReach(t, hub, "192.168.1.9")
	hub.Run("ip", "route", "del", "192.168.1.0/24", "via", "10.1.1.2", "dev", "tun0")

	// Killed and started again, killed and cleaned up, and stopped.
	atA.Kill()
	atA.Wait(soon)
	text := bin.token(t, hub, state, "create", "a2", "--route", "10.50.3.0/24")
	again := func() *lab.Proc {
		t.Helper()
		p := bin.start(t, a.router, "connect", "--token", text, "--state", t.TempDir(), "--advertise",
			"192.168.1.0/24=10.50.3.0/24", "ws://198.51.100.1:8443")
		p.WaitFor("up: ", soon)
		return p
	}
	atA = again()
	eventually(t, "b has the route", func() bool { return hasRoute(b.router, "10.50.3.0/24") })
	files(t, b.host, a.host, "10.50.3.9")
	echoes(t, b.host, a.host, "10.50.3.9")
	stop(t, atA)
	if now := forwarding(t, a.router); now != before {
		t.Errorf("after a stop the router had\n%s\nand has\n%s", before, now)
	}
	killed := again()
	killed.Kill()
	killed.Wait(soon)
	if out, stderr, code := a.router.TryCommand(bin.command(a.router, "cleanup")); code != 0 {
		t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
	}
	if now := forwarding(t, a.router); now != before {
		t.Errorf("after a kill the router had\n%s\nand has\n%s", before, now)
	}
	stop(t, atB)
}

// TestAdvertise offers a network whose hosts have no route back: they are reached with --masquerade
// only. What the token does not allow is one line on the client.
func TestAdvertise(t *testing.T) {
	t.Parallel()
	hub, a, _, _ := twoSites(t)
	before := forwarding(t, a.router)
	a.host.Run("ip", "route", "del", "default")
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, hub, "serve", "--plain", "--state", state)
	srv.WaitFor("listening on ", soon)
	text := bin.token(t, hub, state, "create", "a", "--route", "192.168.1.0/24")
	connect := func(flags ...string) *lab.Proc {
		t.Helper()
		p := bin.start(t, a.router, append([]string{"connect", "--token", text, "--state",
			t.TempDir(), "ws://198.51.100.1:8443", "--advertise", "192.168.1.0/24"}, flags...)...)
		p.WaitFor("up: ", soon)
		eventually(t, "the hub has the route", func() bool { return hasRoute(hub, "192.168.1.0/24") })
		return p
	}
	cl := connect()
	cannotReach(t, hub, "192.168.1.9")
	const back = "ip route add 10.1.1.0/24 via 192.168.1.1"
	cl.WaitFor(`route_back="`+back+`"`, soon)
	a.host.Run(strings.Fields(back)...)
	reaches(t, hub, "192.168.1.9")
	a.host.Run("ip", "route", "del", "10.1.1.0/24")
	stop(t, cl)
	cl = connect("--masquerade", "--advertise", "192.168.77.0/24")
	cl.WaitFor("its token does not allow them: run `tunnel token set NAME --route PREFIX` there\" "+
		"networks=[192.168.77.0/24]", soon)
	reaches(t, hub, "192.168.1.9")
	files(t, hub, a.host, "192.168.1.9")
	echoes(t, hub, a.host, "192.168.1.9")
	// Its packets are forwarded into the tunnel only. Answers to others would come by that.
	a.host.Run("ip", "route", "add", "198.51.100.0/24", "via", "192.168.1.1")
	a.host.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.1.1")
	reaches(t, a.host, "10.1.1.1")
	cannotReach(t, a.host, "198.51.100.1")
	// So they are when their interface has another name.
	rename := func(from, to string) {
		for _, args := range [][]string{{from, "down"}, {from, "name", to}, {to, "up"}} {
			a.router.Run(append([]string{"ip", "link", "set"}, args...)...)
		}
	}
	rename("eth1", "renamed")
	cannotReach(t, a.host, "198.51.100.1")
	reaches(t, a.host, "10.1.1.1")
	stop(t, cl)
	rename("renamed", "eth1")
	if now := forwarding(t, a.router); now != before {
		t.Errorf("the router had\n%s\nand has\n%s", before, now)
	}
}
