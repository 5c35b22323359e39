package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// TestRoutersBehindHub reaches a host behind a hub by two routers, whose addresses are not pushed
// and between which packets have at most 1200 bytes: what they report makes a client send smaller
// packets, and shows them in a trace.
func TestRoutersBehindHub(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	hub, laptop, host := l.Host("hub"), l.Host("laptop"), l.Host("host")
	near, far := l.Host("near"), l.Host("far")
	l.Link(hub, "198.51.100.1/24", laptop, "198.51.100.9/24")
	l.Link(hub, "172.20.0.1/24", near, "172.20.0.2/24")
	l.Link(near, "172.21.0.1/24", far, "172.21.0.2/24")
	l.Link(far, "192.168.7.1/24", host, "192.168.7.9/24")
	near.Run("ip", "link", "set", "eth1", "mtu", "1200")
	far.Run("ip", "link", "set", "eth0", "mtu", "1200")
	for h, via := range map[*lab.Host]string{laptop: "198.51.100.1", near: "172.20.0.1",
		far: "172.21.0.1", host: "192.168.7.1"} {
		h.Run("ip", "route", "add", "default", "via", via)
	}
	near.Run("ip", "route", "add", "192.168.7.0/24", "via", "172.21.0.2")
	hub.Run("ip", "route", "add", "192.168.7.0/24", "via", "172.20.0.2")
	for _, h := range []*lab.Host{near, far} {
		h.Sysctl("net.ipv4.ip_forward", "1")
	}
	hub.Sysctl("net.ipv4.ip_forward", "0")
	noJournals(t, hub, laptop)
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, hub, "serve", "--plain", "--state", state, "--push-route", "192.168.7.0/24")
	srv.WaitFor("clients may reach networks behind this machine", soon)
	text := bin.token(t, hub, state, "create", "laptop")
	cl := bin.start(t, laptop, "connect", "--token", text, "--state", t.TempDir(),
		"ws://198.51.100.1:8443")
	cl.WaitFor("networks=[192.168.7.0/24]", soon)
	reaches(t, laptop, "192.168.7.9")

	if out, stderr, _ := laptop.Try("ping", "-n", "-c3", "-i0.2", "-W5", "-t2",
		"192.168.7.9"); !strings.Contains(out, "From 172.20.0.2 ") {
		t.Errorf("the nearer router does not show in a trace:\n%s%s", out, stderr)
	}
	// While nothing is known of the path TCP segments have the 1360 bytes that the tunnel allows.
	files(t, laptop, host, "192.168.7.9")
	laptop.Run("ip", "route", "flush", "cache")
	out, stderr, code := laptop.Try(python, "-c", `
import errno, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
s.connect((sys.argv[1], 9001))
late = time.monotonic() + 20
while time.monotonic() < late:
    try:
        s.send(b"x" * 1300)
    except OSError as e:
        if e.errno == errno.EMSGSIZE:
            print("path MTU", s.getsockopt(socket.IPPROTO_IP, 14))  # IP_MTU
            break
        if e.errno != errno.ECONNREFUSED: raise
    time.sleep(0.05)`, "192.168.7.9")
	if code != 0 || out != "path MTU 1200\n" {
		t.Errorf("UDP with IP_PMTUDISC_DO: exit code %d\n%s%s", code, out, stderr)
	}
	stop(t, cl)
	stop(t, srv)
}
