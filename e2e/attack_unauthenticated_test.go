package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// An IPv6 host opens a thousand silent connections a second from six /64s, and an IPv4 address
// replays 3,800 ClientHellos a second. Meanwhile a new client and a returning one connect at their
// first attempts, not much later than while the same attack hits a sink beside the server, a stream
// goes on, and the log says once what happens and from where. Not parallel: it measures.
func TestUnauthenticatedFlood(t *testing.T) {
	server, hosts := star(t, 4)
	attacker, steady, returning, fresh := hosts[0], hosts[1], hosts[2], hosts[3]
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), directServer)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	const url = "wss://" + directServer + ":8443"
	st := bin.connect(t, steady, url, "--ca", ca.File)
	stop(t, bin.connect(t, returning, url, "--ca", ca.File))
	quiet := streamRate(t, steady, server, "10.1.1.1")

	from, site := addSite(t, server, attacker, 6)
	attacker.Run("ip", "addr", "add", "198.51.100.200/24", "dev", "eth0")
	attack := func(port string) []*lab.Proc {
		return []*lab.Proc{
			startAttack(t, attacker, hostile.Silent, net.JoinHostPort(site, port), 1000, from...),
			startAttack(t, attacker, hostile.Hello, net.JoinHostPort(directServer, port), 3800,
				"198.51.100.200"),
		}
	}
	startSink(t, server, "8444")
	sunk := attack("8444")
	base := timeToConnect(t, bin, returning, soon, url, "--ca", ca.File)
	t.Logf("a client is up after %v beside an attack on a sink", base)
	for _, a := range sunk {
		stop(t, a)
	}

	attacks := attack("8443")
	time.Sleep(3 * time.Second) // until all queues are full

	used := cpuTime(t, srv)
	began := time.Now()
	attacked := streamRate(t, steady, server, "10.1.1.1")
	t.Logf("a stream: %.0f Mbit/s, attacked %.0f: %.2f; the server uses %.2f processors", quiet,
		attacked, attacked/quiet,
		(cpuTime(t, srv)-used).Seconds()/time.Since(began).Seconds())
	// A new client may wait for its turn for a quarter of the processors.
	limit := 3*base + 5*time.Second
	for _, client := range []struct {
		name string
		host *lab.Host
	}{{"new", fresh}, {"returning", returning}} {
		for range 2 {
			took := timeToConnect(t, bin, client.host, limit, url, "--ca", ca.File)
			t.Logf("a %s client is up after %v", client.name, took)
		}
	}
	for _, a := range attacks {
		lines := strings.Split(strings.TrimSpace(a.Stdout()), "\n")
		t.Logf("attacker: %s", lines[len(lines)-1])
		stop(t, a)
	}
	if n := len(stdoutLines(st, "down: ")); n > 0 {
		t.Errorf("the client with the stream lost its connection:\n%s", st.Stderr())
	}
	line := srv.WaitFor("under attack", soon)
	t.Logf("the log: %s", line)
	if !strings.Contains(line, "2001:db8:a::/48") && !strings.Contains(line, "198.51.100.0/24") {
		t.Errorf("the log does not say from where: %s", line)
	}
	if n := strings.Count(srv.Stderr(), "under attack"); n > 2 {
		t.Errorf("%d lines about the attack", n)
	}
	if n := strings.Count(srv.Stderr(), "\n"); n > 60 {
		t.Errorf("%d lines of log\n%s", n, srv.Stderr())
	}
}

// timeToConnect starts a client, which has to connect at its first attempt, returns how long that
// took, and stops it.
func timeToConnect(t *testing.T, bin program, h *lab.Host, limit time.Duration, url string,
	flags ...string) time.Duration {
	t.Helper()
	began := time.Now()
	cl := bin.startConnect(t, h, url, flags...)
	for len(stdoutLines(cl, "up: ")) == 0 {
		if cl.Exited() || time.Since(began) > limit {
			t.Errorf("not up after %v:\n%s", time.Since(began), cl.Stderr())
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	if !cl.Exited() {
		stop(t, cl)
	}
	return took
}

// streamRate returns the goodput of one TCP stream in Mbit/s.
func streamRate(t *testing.T, from, to *lab.Host, addr string) float64 {
	t.Helper()
	server := to.Start("iperf3", "-s", "-1", "-B", addr, "--forceflush")
	server.WaitFor("Server listening", soon)
	out := from.Run("iperf3", "-c", addr, "-t5", "-J", "--connect-timeout", "5000")
	var result struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("iperf3 printed no JSON: %v\n%s", err, out)
	}
	server.Wait(soon)
	return result.End.Received.Rate / 1e6
}

// cpuTime returns the CPU time that a program has used.
func cpuTime(t *testing.T, p *lab.Proc) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Worker()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // utime and stime, see proc_pid_stat(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
