package e2e

import (
	"fmt"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// outside4 and outside6 are addresses beyond the router that are not the server's.
const (
	outside4 = "203.0.113.9"
	outside6 = "2001:db8:9::9"
)

// roaming is routed with IPv6 on the client's link, a second gateway there, and another address
// beyond the router.
func roaming(t *testing.T) (server, client, router *lab.Host) {
	t.Helper()
	server, client, router = routed(t)
	server.Run("ip", "addr", "add", outside4+"/24", "dev", "eth0")
	router.Run("ip", "addr", "add", "10.77.0.254/24", "dev", "eth1")
	router.Run("ip", "-6", "addr", "add", "2001:db8:1::1/64", "dev", "eth1", "nodad")
	client.Run("ip", "-6", "addr", "add", "2001:db8:1::2/64", "dev", "eth0", "nodad")
	client.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:1::1")
	return server, client, router
}

// machineState is tables and what else the program changes of a host.
func machineState(t *testing.T, h *lab.Host) string {
	t.Helper()
	return tables(t, h) + h.Run("ip", "-6", "rule") +
		h.Run("ip", "-6", "route", "show", "table", "all", "type", "unreachable") +
		h.Run("nft", "list", "ruleset") +
		h.Run("sh", "-c", "grep . /proc/sys/net/ipv4/conf/*/src_valid_mark")
}

// restored fails the test if a host is not as it was before.
func restored(t *testing.T, h *lab.Host, before string) {
	t.Helper()
	if after := machineState(t, h); after != before {
		t.Errorf("%s changed\n--- before\n%s\n--- after\n%s", h.Name(), before, after)
	}
	if left := journals(t, h); len(left) > 0 {
		t.Errorf("journals of %s are left: %q", h.Name(), left)
	}
}

// chatter is a program that sends without pause: IPv4, IPv6, and questions to a DNS server.
const chatter = `
import socket, time
to = [(socket.AF_INET, "203.0.113.9", 9), (socket.AF_INET, "203.0.113.9", 53),
      (socket.AF_INET6, "2001:db8:9::9", 9), (socket.AF_INET6, "2001:db8:9::9", 53)]
print("chatting", flush=True)
while True:
    for family, host, port in to:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as s:
                s.sendto(b"x", (host, port))
        except OSError:
            pass
    time.sleep(0.002)
`

// chat starts chatter on a host.
func chat(t *testing.T, h *lab.Host) {
	t.Helper()
	h.Start("python3", "-c", chatter).WaitFor("chatting", soon)
}

// sniff shows, a line each, what leaves a host by eth0 but the tunnel's connection, and what finds
// neighbors and groups.
func sniff(t *testing.T, h *lab.Host) *lab.Proc {
	t.Helper()
	p := h.Start("tcpdump", "-i", "eth0", "-Q", "out", "-n", "-l", "--immediate-mode",
		"not arp and not (host "+routedServer+" and tcp port 8443) and "+
			"not (icmp6 and (ip6[40] = 143 or (ip6[40] >= 130 and ip6[40] <= 136))) and "+
			// An MLD report has a hop-by-hop header before ICMPv6.
			"not ip6 dst ff02::16")
	p.WaitFor("listening on", soon)
	return p
}

// silent fails the test if something was seen.
func silent(t *testing.T, p *lab.Proc, when string) {
	t.Helper()
	if seen := p.Stdout(); seen != "" {
		t.Fatalf("%s there leaves outside the tunnel:\n%.2000s", when, seen)
	}
}

// loud waits until something is seen, which shows that silence is not that of the tools.
func loud(t *testing.T, p *lab.Proc, what ...string) {
	t.Helper()
	for _, w := range what {
		eventually(t, "packets to "+w+" leave again", func() bool {
			return strings.Contains(p.Stdout(), "> "+w+".")
		})
	}
}

// inside waits until packets of chatter take the device, so that a phase has had some.
func inside(t *testing.T, h *lab.Host) {
	t.Helper()
	sent := func() string {
		return strings.TrimSpace(h.Run("cat", "/sys/class/net/tun0/statistics/tx_packets"))
	}
	first := sent()
	eventually(t, "packets take the tunnel", func() bool { return sent() != first })
}

// TestFullTunnel sends all the time: nothing leaves but by the tunnel, through a restart of the hub
// and another gateway, and IPv6 is refused at once. In the end all is as it was.
func TestFullTunnel(t *testing.T) {
	t.Parallel()
	server, client, router := roaming(t)
	before := machineState(t, client)
	bin := raceBuild(t)
	flags := []string{"--plain", "--ping-interval", "1s", "--state", t.TempDir()}
	srv := bin.serve(t, server, flags...)
	chat(t, client)
	cl := bin.connect(t, client, routedURL, "--full-tunnel")
	reaches(t, client, "10.77.0.1") // the LAN
	seen := sniff(t, client)
	inside(t, client)
	reaches(t, client, "10.1.1.1")
	out, took, code := client.Try("python3", "-c", `import socket, sys, time
begin = time.monotonic()
try: socket.create_connection(("2001:db8:9::9", 80), 20)
except OSError as e: print(e.errno)
print(time.monotonic() - begin, file=sys.stderr)`)
	t.Logf("IPv6 is refused after %s s", strings.TrimSpace(took))
	if code != 0 || strings.TrimSpace(out) != "111" { // ECONNREFUSED: by a reset
		t.Errorf("IPv6 is not refused at once, errno %q", out)
	}
	silent(t, seen, "connected,")

	srv.Kill()
	cl.WaitFor("down: ", soon)
	inside(t, client)
	bin.serve(t, server, flags...)
	cl.WaitForNth("up: ", 2, soon)
	inside(t, client)
	silent(t, seen, "through a restart of the hub")

	client.Run("ip", "route", "replace", "default", "via", "10.77.0.254")
	cl.WaitForNth("up: ", 3, soon)
	inside(t, client)
	reaches(t, client, "10.1.1.1")
	silent(t, seen, "through a change of the gateway")
	router.Run("ip", "addr", "del", "10.77.0.254/24", "dev", "eth1")
	client.Run("ip", "route", "replace", "default", "via", "10.77.0.1")
	cl.WaitForNth("up: ", 4, soon)
	inside(t, client)
	silent(t, seen, "back at the first gateway")

	stop(t, cl)
	loud(t, seen, outside4, outside6)
	restored(t, client, before)
}

// ticker is a program that sends a line to each who connects to it, several times a second.
const ticker = `
import socket, threading, time
def serve(c):
    n = 0
    while True:
        n += 1
        c.sendall(b"tick %d\n" % n)
        time.sleep(0.2)
def listen(s):
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
s = socket.create_server(("", 2222))
six = socket.create_server(("::", 2222), family=socket.AF_INET6)
threading.Thread(target=listen, args=(six,), daemon=True).start()
print("ready", flush=True)
listen(s)
`

// TestFullTunnelAnswers has sessions like that of ssh into the client's physical addresses, of IPv4
// and of IPv6, from before the run, and others from during it: all go on, also where the kernel
// checks strictly where packets come in, and when the client is killed.
func TestFullTunnelAnswers(t *testing.T) {
	t.Parallel()
	for _, strict := range []string{"0", "1"} {
		t.Run("rp_filter "+strict, func(t *testing.T) {
			t.Parallel()
			server, client, router := roaming(t)
			server.Run("ip", "addr", "add", outside6+"/64", "dev", "eth0", "nodad")
			router.Run("ip", "addr", "add", "2001:db8:9::fe/64", "dev", "eth0", "nodad")
			router.Sysctl("net.ipv6.conf.all.forwarding", "1")
			server.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:9::fe")
			client.Sysctl("net.ipv4.conf.eth0.rp_filter", strict)
			server.Sysctl("net.ipv4.conf.all.rp_filter", "0")
			before := machineState(t, client)
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			client.Start("python3", "-c", ticker).WaitFor("ready", soon)
			session := func() *lab.Proc {
				return server.Start("nc", "-d", "-s", outside4, "10.77.0.2", "2222")
			}
			session6 := func() *lab.Proc { return server.Start("nc", "-d", "2001:db8:1::2", "2222") }
			goesOn := func(p *lab.Proc) {
				t.Helper()
				last := strings.Count(p.Stdout(), "\n")
				p.WaitFor(fmt.Sprintf("tick %d\n", last+10), soon)
			}
			older, older6 := session(), session6()
			older.WaitFor("tick 2", soon)
			older6.WaitFor("tick 2", soon)
			cl := bin.connect(t, client, routedURL, "--full-tunnel")
			younger, younger6 := session(), session6()
			for _, p := range []*lab.Proc{older, older6, younger, younger6} {
				goesOn(p)
			}
			client.Try("ping", "-c", "1", "-W", "1", outside4) // goes into the tunnel, to nobody
			if _, _, code := server.Try("ping", "-c", "3", "-W", "5", "-I", outside4,
				"10.77.0.2"); code != 0 {
				t.Error("a ping from outside is not answered there")
			}
			stop(t, cl)
			goesOn(older)
			restored(t, client, before)
			cl = bin.connect(t, client, routedURL, "--full-tunnel")
			cl.Kill()
			gone(t, client)
			for _, p := range []*lab.Proc{older, older6, session(), session6()} {
				goesOn(p)
			}
			client.Run(string(bin), "cleanup")
			goesOn(older)
			restored(t, client, before)
		})
	}
}

// TestFullTunnelKilled kills the client: nothing is left after tunnel cleanup, or another run.
func TestFullTunnelKilled(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, heal := range []string{"cleanup", "connect"} {
		cl := bin.connect(t, client, routedURL, "--full-tunnel")
		cl.Kill()
		if heal == "cleanup" {
			eventually(t, "the device is gone", func() bool {
				return !strings.Contains(client.Run("ip", "-o", "link"), "tun0")
			})
			client.Run(string(bin), "cleanup")
		} else {
			stop(t, bin.connect(t, client, routedURL))
		}
		after := machineState(t, client)
		if after != before {
			t.Errorf("%s leaves\n%s\nwas\n%s", heal, after, before)
		}
	}
}

// TestFullTunnelReaches reaches a public address behind the hub by the default route of the full
// tunnel, and not without it.
func TestFullTunnelReaches(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	server, client, beyond := l.Host("server"), l.Host("client"), l.Host("beyond")
	l.Link(server, "203.0.113.1/24", client, "203.0.113.2/24")
	l.Link(server, "198.51.100.1/24", beyond, "198.51.100.9/24")
	noJournals(t, server, client)
	server.Sysctl("net.ipv4.ip_forward", "1")
	beyond.Run("ip", "route", "add", "10.1.1.0/24", "via", "198.51.100.1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--push-route", "198.51.100.0/24")
	cl := bin.connect(t, client, routedURL)
	cannotReach(t, client, "198.51.100.9")
	stop(t, cl)
	bin.connect(t, client, routedURL, "--full-tunnel")
	reaches(t, client, "198.51.100.9")
}
