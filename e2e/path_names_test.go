package e2e

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tunnel/e2e/lab"
)

// resolves makes a host use a name server.
func resolves(t *testing.T, h *lab.Host, server string, options ...string) {
	t.Helper()
	text := "nameserver " + server + "\n" + strings.Join(append(options, ""), "\n")
	if err := os.WriteFile(filepath.Join("/etc/netns", h.NS(), "resolv.conf"), []byte(text),
		0o644); err != nil {
		t.Fatal(err)
	}
}

// nameServer runs a name server on a host that answers A of server.example with an address, and
// does not answer AAAA.
func nameServer(t *testing.T, h *lab.Host, address, a string) {
	t.Helper()
	var pc net.PacketConn
	err := h.Do(func() (err error) {
		pc, err = new(net.ListenConfig).ListenPacket(t.Context(), "udp", address+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 ||
				m.Questions[0].Type != dnsmessage.TypeA {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			q := m.Questions[0]
			if q.Name.String() == "server.example." {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
					Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
				}}
			} else {
				m.RCode = dnsmessage.RCodeNameError
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = pc.WriteTo(reply, from)
			}
		}
	}()
}

// A name server answers A and drops AAAA: a client connects at once.
func TestResolverDropsAAAA(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts()
	nameServer(t, server, directServer, directServer)
	resolves(t, client, directServer)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	began := time.Now()
	cl := bin.connect(t, client, "ws://server.example:8443")
	reaches(t, client, "10.1.1.1")
	t.Logf("up after %v", time.Since(began).Round(time.Millisecond))
	stop(t, cl)
}

// A name server is reachable only through the tunnel: a client still connects after the connection
// was lost and in a later run, and finds the server's new address once a name server outside has
// it.
func TestResolverInsideTunnel(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	client.Hosts(routedServer + " server.example")
	bin := plainBuild(t)
	state, before := t.TempDir(), tables(t, client)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	connect := func() *lab.Proc {
		return bin.start(t, client, "connect", "--token", token, "--state", state, "--keep-trying",
			"--network", "10.1.1.0/24",
			"ws://server.example:8443")
	}
	cl := connect()
	cl.WaitFor("up: ", soon)
	client.Hosts() // only the name server has the name now
	nameServer(t, server, "10.1.1.1", routedServer)
	resolves(t, client, "10.1.1.1")
	time.Sleep(6 * time.Second) // the resolver reads its files again every 5 s

	stop(t, srv)
	cl.WaitFor("down: ", soon)
	srv = bin.serve(t, server, "--plain", "--ping-interval", "1s")
	began := time.Now()
	cl.WaitForNth("up: ", 2, soon)
	t.Logf("up again after %v", time.Since(began).Round(time.Millisecond))
	reaches(t, client, "10.1.1.1")

	stop(t, cl)
	cl = connect()
	began = time.Now()
	cl.WaitFor("up: ", soon)
	t.Logf("up after a restart after %v", time.Since(began).Round(time.Millisecond))
	reaches(t, client, "10.1.1.1")

	// The server moves to an address that a name server outside has.
	server.Run("ip", "addr", "add", "203.0.113.77/24", "dev", "eth0")
	nameServer(t, server, "203.0.113.77", "203.0.113.77")
	resolves(t, client, "203.0.113.77")
	stop(t, srv)
	cl.WaitFor("down: ", soon)
	bin.serve(t, server, "--plain", "--listen", "203.0.113.77:8443", "--ping-interval", "1s")
	cl.WaitForNth("up: ", 2, soon)
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	untouched(t, client, before)
}

// The server's name changes to an address inside the tunnel during a session: the client makes no
// bypass for it, says why, and uses the last address.
func TestNameResolvesIntoTunnel(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	client.Hosts(routedServer + " server.example")
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl := bin.connect(t, client, "ws://server.example:8443")
	client.Hosts("10.1.1.1 server.example")
	time.Sleep(6 * time.Second)
	stop(t, srv)
	cl.WaitFor("lies inside the tunnel", soon)
	bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl.WaitForNth("up: ", 2, soon)
	reaches(t, client, "10.1.1.1")
	if routes := client.Run("ip", "route", "show", "10.1.1.1"); routes != "" {
		t.Errorf("there is a route to the tunnel's own address past the tunnel: %s", routes)
	}
	stop(t, cl)
}

// A server is reached by a Unicode name.
func TestInternationalName(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 xn--bcher-kva.example")
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "xn--bcher-kva.example")
	bin := plainBuild(t)
	bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	cl := bin.connect(t, client, "wss://bücher.example:8443", "--ca", ca.File)
	reaches(t, client, "10.1.1.1")
	if !strings.Contains(cl.Stderr(), "bücher.example") {
		t.Errorf("the name is not readable:\n%s", cl.Stderr())
	}
	stop(t, cl)
}

// A server is reached by a link-local address with a zone, by ws and wss, with the interface's name
// and index.
func TestLinkLocal(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	var address string
	// Wait for duplicate address detection.
	for _, h := range []*lab.Host{client, server} {
		eventually(t, "a link-local address", func() bool {
			f := strings.Fields(h.Run("ip", "-o", "-6", "addr", "show", "dev", "eth0", "scope",
				"link", "-tentative"))
			if len(f) > 3 {
				address, _, _ = strings.Cut(f[3], "/")
			}
			return len(f) > 3
		})
	}
	bin := plainBuild(t)
	before := tables(t, client)
	bin.serve(t, server, "--plain")
	second := bin.serve(t, server, "--listen", ":443", "--network", "10.2.2.0/24", "--dev", "tun1")
	_, pin, _ := strings.Cut(second.WaitFor("tunnel connect ", soon), "--pin ")
	pin, _, _ = strings.Cut(pin, " ")
	index := strings.TrimSuffix(strings.Fields(client.Run("ip", "-o", "link", "show", "dev",
		"eth0"))[0], ":")
	for _, args := range [][]string{
		{"ws://[" + address + "%25eth0]:8443"}, {"ws://[" + address + "%25" + index + "]:8443"},
		{"wss://[" + address + "%25eth0]", "--pin", pin},
	} {
		cl := bin.connect(t, client, args[0], args[1:]...)
		reaches(t, client, map[bool]string{true: "10.2.2.1", false: "10.1.1.1"}[len(args) > 1])
		// A change of the network must not disturb the session.
		client.Run("ip", "addr", "add", "198.51.100.99/32", "dev", "eth0")
		client.Run("ip", "addr", "del", "198.51.100.99/32", "dev", "eth0")
		time.Sleep(time.Second)
		if downs(cl) > 0 {
			t.Errorf("%s: the connection did not last\n%s", args[0], cl.Stderr())
		}
		stop(t, cl)
		untouched(t, client, before)
	}
	connect := func(url string) []string {
		return []string{"connect", url, "--token", token, "--state", t.TempDir()}
	}
	for _, f := range []failure{
		{name: "no zone", args: connect("ws://[" + address + "]:8443"), code: 4, step: "tcp",
			says: "a link-local address needs its interface"},
		{name: "an unknown zone", args: connect("ws://[" + address + "%25eth7]:8443"), code: 4,
			step: "tcp", says: "no interface eth7"},
	} {
		f.check(t, client, bin)
	}
}
