package e2e

import (
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// laneCount returns how many connections a client has to port 8443 of the server.
func laneCount(h *lab.Host) int {
	return len(strings.Fields(h.Run("ss", "-HtnO", "state", "established", "dport", "=",
		":8443"))) / 4
}

// lanePorts returns the client's ports of these connections.
func lanePorts(h *lab.Host) (ports []string) {
	for line := range strings.Lines(h.Run("ss", "-HtnO", "state", "established", "dport", "=",
		":8443")) {
		fields := strings.Fields(line)
		ports = append(ports, fields[2][strings.LastIndexByte(fields[2], ':')+1:])
	}
	return ports
}

// A session with four connections loses each in turn during transfers in both directions: all
// transfers arrive, no TCP connection is reset, and the session stays up.
func TestLanes(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL, "--lanes", "4")
	srv.WaitForNth(`msg="lane connected"`, 3, soon)
	ports := lanePorts(client)
	if len(ports) != 4 {
		t.Fatalf("%d connections; want 4", len(ports))
	}
	for i, port := range ports {
		up := []*crossing{cross(t, client, server, "10.1.1.1", 9001), cross(t, client, server,
			"10.1.1.1", 9002)}
		down := []*crossing{cross(t, server, client, "10.1.1.3", 9003), cross(t, server, client,
			"10.1.1.3", 9004)}
		client.Run("ss", "-K", "sport", "=", ":"+port)
		for _, c := range append(up, down...) {
			c.send()
		}
		for _, c := range append(up, down...) {
			c.arrives(soon)
		}
		srv.WaitForNth(`msg="lane lost"`, i+1, soon)
		srv.WaitForNth(`msg="lane connected"`, i+4, soon)
	}
	if n := laneCount(client); n != 4 {
		t.Errorf("%d connections at the end; want 4", n)
	}
	if downs(cl) != 0 || len(stdoutLines(cl, "up: ")) != 1 {
		t.Errorf("the session was not up all the time:\n%s", cl.Stdout())
	}
	stop(t, cl)
	eventually(t, "the client's connections are gone",
		func() bool { return laneCount(client) == 0 })
}

// Flows of one session share its connections, with TLS.
func TestLanesSpread(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), directServer)
	srv := bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	cl := bin.connect(t, client, "wss://"+directServer+":8443", "--ca", ca.File, "--lanes", "2")
	srv.WaitForNth(`msg="lane connected"`, 1, soon)
	time.Sleep(1500 * time.Millisecond) // flows of the first connection are idle by now, and can move
	iperf(t, client, server, "10.1.1.1", "-P4", "-n", "16M")
	iperf(t, client, server, "10.1.1.1", "-P4", "-n", "16M", "-R")
	for _, h := range []*lab.Host{client, server} {
		for line := range strings.Lines(h.Run("ss", "-HtniO", "state", "established",
			"( dport = :8443 or sport = :8443 )")) {
			_, sent, _ := strings.Cut(line, " bytes_sent:")
			if sent, _, _ = strings.Cut(sent, " "); len(sent) < 7 { // below 1 MB
				t.Errorf("one of two connections of %s has carried almost nothing: %s", h.Name(),
					line)
			}
		}
	}
	stop(t, cl)
}

// A server allows fewer connections than the client wants. A server that restarts drops all of
// them, and all come back.
func TestLanesServerDecides(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	state := t.TempDir()
	srv := bin.serve(t, server, "--plain", "--max-lanes", "1", "--state", state)
	cl := bin.connect(t, client, directURL, "--lanes", "4")
	reaches(t, client, "10.1.1.1")
	if n := laneCount(client); n != 1 {
		t.Errorf("%d connections; want 1", n)
	}
	stop(t, srv)
	srv = bin.serve(t, server, "--plain", "--max-lanes", "2", "--state", state)
	cl.WaitForNth("up: dev tun0, address 10.1.1.3 ", 2, soon)
	eventually(t, "there are two connections", func() bool { return laneCount(client) == 2 })
	srv.Kill()
	srv = bin.serve(t, server, "--plain", "--max-lanes", "3", "--state", state)
	cl.WaitForNth("up: dev tun0, address 10.1.1.3 ", 3, soon)
	eventually(t, "there are three connections", func() bool { return laneCount(client) == 3 })
	reaches(t, client, "10.1.1.1")
	if n := downs(cl); n != 2 {
		t.Errorf("the session was lost %d times; want 2:\n%s", n, cl.Stdout())
	}
	stop(t, cl)
	if strings.Contains(srv.Stderr(), `msg=refused`) {
		t.Errorf("the server refused a lane:\n%s", srv.Stderr())
	}
}
