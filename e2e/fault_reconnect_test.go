package e2e

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// A crossing is a TCP transfer during which the tunnel is disturbed.
type crossing struct {
	t        *testing.T
	input    io.WriteCloser
	rest     []byte
	sum      string
	receiver *lab.Proc
}

// cross starts a transfer of 4 MiB to a host at addr, and returns when half of it has been sent.
func cross(t *testing.T, from, to *lab.Host, addr string, port int) *crossing {
	t.Helper()
	const half = 2 << 20
	data := randomBytes(2 * half)
	c := &crossing{t: t, rest: data[half:], sum: sha(data)}
	c.receiver = to.Start("sh", "-c", fmt.Sprintf("nc -d -l %s %d | sha256sum", addr, port))
	listening(t, to, port)
	sender := from.Command("nc", "-N", addr, fmt.Sprint(port))
	var err error
	if c.input, err = sender.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	from.StartCommand(sender)
	if _, err := c.input.Write(data[:half]); err != nil {
		t.Fatal(err)
	}
	return c
}

// send sends the other half as fast as possible, in the background.
func (c *crossing) send() {
	go func() {
		_, _ = c.input.Write(c.rest) // the checksum shows what is lost
		_ = c.input.Close()
	}()
}

// arrives fails the test unless the whole transfer arrives within d.
func (c *crossing) arrives(d time.Duration) {
	c.t.Helper()
	c.receiver.Wait(d)
	if !strings.HasPrefix(c.receiver.Stdout(), c.sum) {
		c.t.Errorf("checksum %q, want %s", c.receiver.Stdout(), c.sum)
	}
}

// downs returns how often a client has lost its connection.
func downs(cl *lab.Proc) int { return len(stdoutLines(cl, "down: ")) }

// A name has an IPv6 address that drops all packets: the IPv4 address is tried in parallel.
func TestDualStack(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("2001:db8::99 server.example", "2001:db8::98 server.example",
		directServer+" server.example")
	client.Run("ip", "-6", "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
	for _, dead := range []string{"2001:db8::98", "2001:db8::99"} {
		client.Run("ip", "-6", "neigh", "add", dead, "lladdr", "02:00:00:00:00:99", "dev", "eth0")
	}
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	begin := time.Now()
	cl := bin.startConnect(t, client, "ws://server.example:8443")
	cl.WaitFor("up: ", soon)
	took := time.Since(begin)
	t.Logf("up after %v", took)
	if took > 1*time.Second+slack {
		t.Errorf("up after %v: the dead addresses were waited for", took)
	}
	reaches(t, client, "10.1.1.1")
	stop(t, cl)

	// Once IPv6 works it is preferred.
	server.Run("ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
	client.Hosts("2001:db8::1 server.example", directServer+" server.example")
	cl = bin.connect(t, client, "ws://server.example:8443")
	if out := client.Run("ss", "-Htn", "dport", "=", ":8443"); !strings.Contains(out,
		"[2001:db8::1]:8443") {
		t.Errorf("connected by\n%s", out)
	}
	stop(t, cl)
}

// The client fails over between two servers, and has its former address when it returns to the
// first.
func TestFailover(t *testing.T) {
	t.Parallel()
	first, hosts := star(t, 2)
	second, client := hosts[0], hosts[1]
	bin := raceBuild(t)
	flags := []string{"--plain", "--ping-interval", "1s", "--state", t.TempDir()}
	one := bin.serve(t, first, flags...)
	two := bin.serve(t, second, "--plain", "--ping-interval", "1s", "--network", "10.2.2.0/24")
	occupied := dialRaw(t, client, directURL) // so the address is not the first of the pool
	occupied.connect()
	state := t.TempDir()
	cl := bin.start(t, client, "connect", "--token", token, "--state", state, directURL,
		"ws://198.51.100.2:8443")
	cl.WaitFor("up: dev tun0, address 10.1.1.5 ", soon)
	_ = occupied.conn.CloseNow()
	one.Kill()
	cl.WaitFor("up: dev tun0, address 10.2.2.3 ", soon)
	reaches(t, client, "10.2.2.1")
	bin.serve(t, first, flags...)
	two.Kill()
	cl.WaitForNth("up: dev tun0, address 10.1.1.5 ", 2, soon)
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	// A later run with another order of the URLs gets the same address.
	cmd := bin.command(client, "connect", "--token", token, "--state", state)
	cmd.Env = append(cmd.Env, "TUNNEL_URL=ws://198.51.100.2:8443 "+directURL)
	cl = watch(t, client.StartCommand(cmd))
	cl.WaitFor("up: dev tun0, address 10.1.1.5 ", soon)
	second.TryCommand(bin.command(second, "cleanup")) // the second server stays killed
}

// twoUplinks returns a server, 203.0.113.1, and a client with two paths to it: eth0, 10.77.0.2 by
// router 10.77.0.1, which has the default route, and eth1, 10.78.0.2 by 10.78.0.1.
func twoUplinks(t *testing.T) (server, client *lab.Host) {
	t.Helper()
	l := lab.New(t)
	server, client = l.Host("server"), l.Host("client")
	sw := l.Switch("switch")
	l.Attach(server, "203.0.113.1/24", sw)
	for i, net := range []string{"10.77.0.", "10.78.0."} {
		router := l.Host(fmt.Sprintf("router%d", i))
		l.Attach(router, fmt.Sprintf("203.0.113.25%d/24", i), sw)
		l.Link(client, net+"2/24", router, net+"1/24")
		router.Sysctl("net.ipv4.ip_forward", "1")
		server.Run("ip", "route", "add", net+"0/24", "via", fmt.Sprintf("203.0.113.25%d", i))
	}
	client.Run("ip", "route", "add", "default", "via", "10.77.0.1")
	noJournals(t, server, client)
	return server, client
}

// A client moves between two networks during transfers, when a link goes down and when routes or
// addresses change. Changes that do not affect its path do not disturb it.
func TestNetworkChange(t *testing.T) {
	t.Parallel()
	t.Run("one lane", func(t *testing.T) { networkChange(t) })
	t.Run("lanes", func(t *testing.T) { networkChange(t, "--lanes", "3") })
}

func networkChange(t *testing.T, flags ...string) {
	t.Helper()
	t.Parallel()
	server, client := twoUplinks(t)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain") // the ping interval of 20 s detects nothing in time
	cl := bin.connect(t, client, routedURL, flags...)
	up := cross(t, client, server, "10.1.1.1", 9000)
	down := cross(t, server, client, "10.1.1.3", 9001)

	devices := map[string]string{"10.77.0.1": "eth0", "10.78.0.1": "eth1"}
	comesBack := func(nth int, via string, change ...string) {
		t.Helper()
		begin := time.Now()
		client.Run(change...)
		cl.WaitForNth("up: ", nth, soon)
		took := time.Since(begin)
		t.Logf("%s: back after %v", strings.Join(change, " "), took)
		if took > time.Second+slack {
			t.Errorf("%s: back after %v", strings.Join(change, " "), took)
		}
		bypass := fmt.Sprintf("203.0.113.1 via %s dev %s", via, devices[via])
		if have := routes(client, "show", "exact", "203.0.113.1"); len(have) != 1 ||
			have[0] != bypass {
			t.Errorf("the route to the server is %q, want %q", have, bypass)
		}
	}
	client.Run("ip", "link", "set", "dev", "eth0", "down")
	time.Sleep(time.Second) // without a route
	comesBack(2, "10.78.0.1", "ip", "route", "add", "default", "via", "10.78.0.1")
	client.Run("ip", "link", "set", "dev", "eth0", "up")
	comesBack(3, "10.77.0.1", "ip", "route", "replace", "default", "via", "10.77.0.1")
	comesBack(4, "10.78.0.1", "ip", "route", "add", "203.0.113.0/24", "via", "10.78.0.1")
	// The connection's local address is removed while the route stays. Without promote_secondaries
	// all routes by that interface would go with it.
	client.Sysctl("net.ipv4.conf.eth1.promote_secondaries", "1")
	client.Run("ip", "addr", "add", "10.78.0.3/24", "dev", "eth1")
	comesBack(5, "10.78.0.1", "ip", "addr", "del", "10.78.0.2/24", "dev", "eth1")
	for _, line := range stdoutLines(cl, "down: ") {
		if !strings.Contains(line, "this machine's way to the server has changed") {
			t.Errorf("said %q", line)
		}
	}

	before := downs(cl)
	for _, chatter := range [][]string{
		{"ip", "link", "add", "br-docker", "type", "bridge"},
		{"ip", "addr", "add", "172.17.0.1/16", "dev", "br-docker"},
		{"ip", "link", "set", "br-docker", "up"},
		{"ip", "link", "add", "veth1", "type", "veth", "peer", "name", "veth2"},
		{"ip", "link", "set", "veth1", "master", "br-docker", "up"},
		{"ip", "route", "add", "192.0.2.0/24", "via", "172.17.0.9", "dev", "br-docker", "onlink"},
		{"ip", "-6", "route", "add", "2001:db8:9::/64", "dev", "eth1"},
		{"ip", "route", "add", "default", "via", "10.77.0.1", "metric", "9999"},
		{"ip", "link", "del", "veth1"},
		{"ip", "link", "del", "br-docker"},
		{"ip", "link", "set", "dev", "eth0", "down"},
	} {
		client.Run(chatter...)
		time.Sleep(100 * time.Millisecond) // so that the client checks its path after each one
	}
	up.send()
	down.send()
	up.arrives(soon)
	down.arrives(soon)
	if now := downs(cl); now != before {
		t.Errorf("lost the connection %d times for nothing:\n%s", now-before, cl.Stderr())
	}
}

// A client that waits without a network connects as soon as there is a route, not when its pause
// ends.
func TestNetworkAppears(t *testing.T) {
	t.Parallel()
	server, client := twoUplinks(t)
	client.Run("ip", "route", "del", "default")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.startConnect(t, client, routedURL, "--keep-trying")
	cl.WaitForNth("retry_in=", 5, soon) // the pauses have grown to seconds
	begin := time.Now()
	client.Run("ip", "route", "add", "default", "via", "10.78.0.1")
	cl.WaitFor("up: ", soon)
	took := time.Since(begin)
	t.Logf("up after %v", took)
	if took > time.Second+slack/2 {
		t.Errorf("up %v after the default route", took)
	}
}

// dropPort8443 makes a host drop all packets to or from its TCP port 8443, or pass them again.
func dropPort8443(h *lab.Host, on bool) {
	if !on {
		h.Run("nft", "delete", "table", "inet", "hole")
		return
	}
	h.Run("nft", "add table inet hole; "+
		"add chain inet hole in { type filter hook input priority 0; }; add chain inet hole out "+
		"{ type filter hook output priority 0; }; "+
		"add rule inet hole in tcp dport 8443 drop; add rule inet hole out tcp sport 8443 drop")
}

// The path drops all packets for half a minute during transfers in both directions: both sides
// notice within two ping intervals, and the transfers go on seconds after the outage. The test
// takes 40 s.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	const outage, interval = 30 * time.Second, 2 * time.Second
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", interval.String())
	cl := bin.connect(t, client, directURL)
	index := device(client, "tun0")
	up := cross(t, client, server, "10.1.1.1", 9000)
	down := cross(t, server, client, "10.1.1.3", 9001)

	dropPort8443(server, true)
	begin := time.Now()
	up.send()
	down.send()
	for what, wait := range map[string]func(){
		"client": func() { cl.WaitFor("down: ", soon) },
		"server": func() { srv.WaitFor(leftMessage, soon) },
	} {
		wait()
		if took := time.Since(begin); took > 2*interval+slack {
			t.Errorf("the %s noticed after %v, want at most two intervals of %v", what, took,
				interval)
		}
	}
	time.Sleep(outage - time.Since(begin))
	dropPort8443(server, false)
	begin = time.Now()
	cl.WaitForNth("up: ", 2, soon)
	back := time.Since(begin)
	up.arrives(soon)
	down.arrives(soon)
	all := time.Since(begin)
	t.Logf("after an outage of %v: back after %v, the transfers after %v", outage, back, all)
	if back > 5*time.Second+slack || all > 7*time.Second+slack {
		t.Errorf("after an outage of %v: back after %v, the transfers after %v", outage, back, all)
	}
	if now := device(client, "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
}

// A slow link with a deep queue is saturated in both directions, so that pings take longer than two
// ping intervals: neither side gives up.
func TestSaturatedLink(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	server, client := l.Host("server"), l.Host("client")
	link := wan.Link{Rate: 400e3, Delay: 20 * time.Millisecond, Queue: 150e3} // 3 s at this rate
	line := wan.Connect(t, server, client, directServer+"/24", "198.51.100.2/24", link, link)
	noJournals(t, server, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl := bin.connect(t, client, directURL)
	var streams []*lab.Proc
	for i, d := range []struct {
		from, to *lab.Host
		addr     string
	}{{client, server, "10.1.1.1"}, {server, client, "10.1.1.3"}} {
		for stream := range 3 {
			port := 9000 + 10*i + stream
			d.to.Start("sh", "-c", fmt.Sprintf("exec nc -d -l %s %d >/dev/null", d.addr, port))
			listening(t, d.to, port)
			streams = append(streams, d.from.Start("sh", "-c",
				fmt.Sprintf("exec nc -N %s %d </dev/zero", d.addr, port)))
		}
	}
	time.Sleep(10 * time.Second)
	if downs(cl) > 0 || strings.Contains(srv.Stderr(), leftMessage) {
		t.Errorf("the connection did not last:\n%s%s", cl.Stdout(), srv.Stderr())
	}
	up, down := line.Stats()
	if least := uint64(10 * link.Rate / 8 / 2); up.Bytes < least || down.Bytes < least {
		t.Errorf("only %d and %d bytes have passed: the link was not saturated", up.Bytes, down.Bytes)
	}
	for _, s := range streams {
		s.Kill()
	}
	line.Set(wan.Link{}, wan.Link{})
	reaches(t, client, "10.1.1.1")
}

// A server that restarts tells each client when to come back, and each does.
func TestPlannedRestart(t *testing.T) {
	t.Parallel()
	const n = 5
	server, clients := star(t, n)
	bin := raceBuild(t)
	flags := []string{"--plain", "--state", t.TempDir()}
	srv := bin.serve(t, server, flags...)
	var all []*lab.Proc
	for _, c := range clients {
		all = append(all, bin.connect(t, c, directURL))
	}
	up := cross(t, clients[0], server, "10.1.1.1", 9000)
	stop(t, srv)
	bin.serve(t, server, flags...)
	begin := time.Now()
	times := map[string]bool{}
	for _, cl := range all {
		cl.WaitForNth("up: ", 2, soon)
		line := cl.WaitFor("down: ", soon)
		times[line] = true
		if !strings.Contains(line, "the server stops: come back in 0.5") {
			t.Errorf("told %q", line)
		}
		if ups := stdoutLines(cl, "up: "); ups[0] != ups[1] {
			t.Errorf("came back differently: %q", ups)
		}
	}
	t.Logf("all are back after %v", time.Since(begin))
	if len(times) != n {
		t.Errorf("%d clients were told %d times: %v", n, len(times), times)
	}
	up.send()
	up.arrives(soon)

	// A client whose server does not come back keeps trying.
	srv = bin.startServe(t, server, "--plain", "--listen", ":8444", "--dev", "tun1", "--network",
		"10.9.9.0/24")
	srv.WaitFor("listening", soon)
	cl := bin.connect(t, clients[0], "ws://198.51.100.1:8444", "--dev", "tun1")
	srv.Signal(syscall.SIGTERM)
	srv.Wait(soon)
	cl.WaitForNth("connection refused", 3, soon)
}
