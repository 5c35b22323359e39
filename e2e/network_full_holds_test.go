package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// quiet reports what leaves outside the tunnel while do runs.
func quiet(t *testing.T, h *lab.Host, when string, do func()) {
	t.Helper()
	seen := sniff(t, h)
	do()
	h.Run("sleep", "0.3") // while chatter sends
	if out := seen.Stdout(); out != "" {
		t.Errorf("%s there leaves outside the tunnel:\n%.1000s", when, out)
	}
	seen.Kill()
}

// bound sends to the addresses outside by sockets that an interface is chosen for, in each way that
// Linux has.
const bound = `
import socket, struct
index = socket.if_nametoindex("eth0")
four, six = ("203.0.113.9", 9), ("2001:db8:9::9", 9)
def send(family, to, option=None, info=None):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        try:
            if option: s.setsockopt(*option)
            s.sendmsg([b"x"], [info] if info else [], 0, to)
        except OSError as e:
            print(to[0], option, info, e)
device = (socket.SOL_SOCKET, 25, b"eth0\0")
send(socket.AF_INET, four, device)
send(socket.AF_INET6, six, device)
send(socket.AF_INET, four, (socket.IPPROTO_IP, 50, struct.pack("!I", index)))
send(socket.AF_INET6, six, (socket.IPPROTO_IPV6, 76, struct.pack("!I", index)))
send(socket.AF_INET, four, None, (socket.IPPROTO_IP, 8, struct.pack("=I4s4s", index, b"", b"")))
send(socket.AF_INET6, six, None, (socket.IPPROTO_IPV6, 50, struct.pack("=16sI", b"", index)))
for family, to in (socket.AF_INET, four), (socket.AF_INET6, six):
    with socket.socket(family) as s:
        s.setsockopt(*device)
        s.settimeout(1)
        try: s.connect(to)
        except OSError as e: print(to[0], e)
`

// TestFullTunnelHolds has what gets past routes: sockets bound to an interface, the hub's own
// address, a lease that overlaps the tunnel's network, and another network of the hub. Nothing
// leaves outside, and the LAN stays.
func TestFullTunnelHolds(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	chat(t, client)
	cl := bin.connect(t, client, routedURL, "--full-tunnel")
	inside(t, client)
	quiet(t, client, "bound to an interface,", func() {
		client.Run("python3", "-c", bound)
		client.Try("ping", "-c", "1", "-W", "1", "-I", "eth0", outside4)
		client.Try("ping", "-6", "-c", "1", "-W", "1", "-I", "eth0", outside6)
	})
	quiet(t, client, "to the hub's own address,", func() {
		client.Try("nc", "-z", "-w", "1", routedServer, "80")
	})
	quiet(t, client, "while the network overlaps,", func() {
		client.Run("ip", "addr", "add", "10.1.1.77/32", "dev", "eth0")
		cl.WaitFor("address and route withdrawn", soon)
	})
	reaches(t, client, "10.77.0.1")
	quiet(t, client, "when the network is back,", func() {
		client.Run("ip", "addr", "del", "10.1.1.77/32", "dev", "eth0")
		cl.WaitForNth("up: ", 2, soon)
	})
	quiet(t, client, "while the address changes,", func() {
		srv.Kill()
		cl.WaitForNth("down: ", 2, soon)
		bin.serve(t, server, "--plain", "--network", "10.2.1.0/24")
		cl.WaitForNth("up: ", 3, soon)
		inside(t, client)
		reaches(t, client, "10.2.1.1")
	})
	if strings.Contains(cl.Stderr(), "restored what something else") {
		t.Errorf("nothing else has changed anything:\n%s", cl.Stderr())
	}
	stop(t, cl)
	restored(t, client, before)
}

// echo is a client that answers each datagram of the address that it is connected to.
const echo = `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("203.0.113.9", 2222))
s.send(b"hello")
print("hello", flush=True)
while True:
    try: s.send(s.recv(100))
    except OSError: pass
`

// caller is the other side of echo.
const caller = `
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.9", 2222))
print("ready", flush=True)
to = s.recvfrom(100)[1]
while True:
    s.sendto(b"again", to)
    time.sleep(0.1)
`

// TestFullTunnelOlder has connections that this machine has opened before the run, in which the
// other side speaks first: they are not continued outside.
func TestFullTunnelOlder(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"full tunnel":          {"--full-tunnel"},
		"with a kill switch":   {"--full-tunnel", "--kill-switch", "--allow-inbound"},
		"with the second only": {"--kill-switch", "--allow-inbound"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client, _ := roaming(t)
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			server.Start("python3", "-c", ticker).WaitFor("ready", soon)
			server.Start("python3", "-c", caller).WaitFor("ready", soon)
			client.Start("nc", "-d", outside4, "2222").WaitFor("tick 2", soon)
			client.Start("python3", "-c", echo).WaitFor("hello", soon)
			bin.connect(t, client, routedURL, flags...)
			seen := sniff(t, client)
			for _, protocol := range []string{"tcp", "udp"} {
				heard := client.Start("tcpdump", "-i", "eth0", "-Q", "in", "-n", "-l",
					"--immediate-mode", protocol+" src port 2222")
				heard.WaitForNth(outside4+".2222", 3, soon)
			}
			silent(t, seen, "of older connections,")
		})
	}
}

// TestFullTunnelForged has a neighbor send to the address in the tunnel, which strict checks of
// source addresses and a full tunnel refuse.
func TestFullTunnelForged(t *testing.T) {
	t.Parallel()
	server, client, router := roaming(t)
	client.Sysctl("net.ipv4.conf.eth0.rp_filter", "1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, routedURL, "--full-tunnel", "--address", "10.1.1.3")
	heard := client.Start("python3", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 9999))
print("ready", flush=True)
while True: print(s.recv(100).decode(), flush=True)`)
	heard.WaitFor("ready", soon)
	router.Run("ip", "route", "add", "10.1.1.3", "via", "10.77.0.2")
	router.Run("python3", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.254", 8))
for word, to in ("forged", "10.1.1.3"), ("real", "10.77.0.2"):
    for n in range(3): s.sendto(word.encode(), (to, 9999))`)
	heard.WaitForNth("real", 3, soon)
	if out := heard.Stdout(); strings.Contains(out, "forged") {
		t.Errorf("a neighbor is heard inside the tunnel:\n%s", out)
	}
}

// TestFullTunnelPublished has a port of a container, as Docker publishes them, and reaches it
// through the tunnel and from outside: each is answered where it came in.
func TestFullTunnelPublished(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	server, client, router := l.Host("server"), l.Host("client"), l.Host("router")
	container := l.Host("container")
	l.Link(server, "203.0.113.1/24", router, "203.0.113.254/24")
	l.Link(client, "10.77.0.2/24", router, "10.77.0.1/24")
	l.Link(client, "172.17.0.1/24", container, "172.17.0.2/24")
	router.Sysctl("net.ipv4.ip_forward", "1")
	client.Sysctl("net.ipv4.ip_forward", "1")
	server.Run("ip", "addr", "add", outside4+"/24", "dev", "eth0")
	server.Run("ip", "route", "add", "default", "via", "203.0.113.254")
	client.Run("ip", "route", "add", "default", "via", "10.77.0.1")
	container.Run("ip", "route", "add", "default", "via", "172.17.0.1")
	noJournals(t, server, client)
	client.Run("nft", "add table ip published; add chain ip published in { type nat hook "+
		"prerouting priority -100; }; add rule ip published in fib daddr type local "+
		"tcp dport 2222 dnat to 172.17.0.2")
	container.Start("python3", "-c", ticker).WaitFor("ready", soon)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--push-route", "203.0.113.9/32")
	bin.connect(t, client, routedURL, "--full-tunnel", "--address", "10.1.1.3")
	quiet(t, client, "of a connection through the tunnel,", func() {
		server.Start("nc", "-d", "10.1.1.3", "2222").WaitFor("tick 3", soon)
		server.Start("nc", "-d", "-s", outside4, "10.1.1.3", "2222").WaitFor("tick 3", soon)
	})
	server.Start("nc", "-d", "-s", outside4, "10.77.0.2", "2222").WaitFor("tick 3", soon)
}
