package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// TestAttacked has a thousand silent connections a second from six /64s of one IPv6 host, and 3,800
// replayed ClientHellos a second from one IPv4 address. Meanwhile a client that the server has
// never seen comes in at its first attempt, one that was there comes back, and a stream goes on;
// the log says once what happens, and from where. Not parallel: it measures.
func TestAttacked(t *testing.T) {
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

	from, target := siteOf(t, server, attacker, 6)
	attacks := []*lab.Proc{startAttack(t, attacker, hostile.Silent, target, 1000, from...)}
	attacker.Run("ip", "addr", "add", "198.51.100.200/24", "dev", "eth0")
	attacks = append(attacks, startAttack(t, attacker, hostile.Hello, directServer+":8443", 3800,
		"198.51.100.200"))
	time.Sleep(3 * time.Second) // until all that can be full is full

	used := cpuTime(t, srv)
	began := time.Now()
	attacked := streamRate(t, steady, server, "10.1.1.1")
	t.Logf("a stream: %.0f Mbit/s, attacked %.0f: %.2f; the server uses %.2f processors", quiet,
		attacked, attacked/quiet,
		(cpuTime(t, srv)-used).Seconds()/time.Since(began).Seconds())
	// Targets are 3 and 1 s; the machine may be busy.
	for _, client := range []struct {
		name  string
		host  *lab.Host
		limit time.Duration
	}{{"new", fresh, 9 * time.Second}, {"returning", returning, 3 * time.Second}} {
		for range 3 {
			took := upAtOnce(t, bin, client.host, client.limit, url, "--ca", ca.File)
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

// upAtOnce starts a client, which has to come up at its first attempt, returns how long that takes,
// and ends it.
func upAtOnce(t *testing.T, bin program, h *lab.Host, limit time.Duration, url string,
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

// streamRate returns what one stream brings, in Mbit/s.
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

// cpuTime returns the processor time that a program has used.
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
