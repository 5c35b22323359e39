package e2e

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// The limits of TCP buffers in the tests of this file, in bytes. They are low, so that a slow
// machine fills them too.
const (
	mostSend    = 1 << 20
	mostReceive = 2 << 20
)

// lowBuffers sets these limits on a host.
func lowBuffers(h *lab.Host) {
	h.Sysctl("net.ipv4.tcp_wmem", "4096 16384 "+strconv.Itoa(mostSend))
	h.Sysctl("net.ipv4.tcp_rmem", "4096 131072 "+strconv.Itoa(mostReceive))
}

// roomOf returns the sizes of the buffers of the host's only tunnel connection.
func roomOf(t *testing.T, h *lab.Host) (send, receive int) {
	t.Helper()
	state := h.Run("ss", "-HtmnO", "state", "established", "( dport = :8443 or sport = :8443 )")
	m := regexp.MustCompile(`skmem:\(r\d+,rb(\d+),t\d+,tb(\d+),`).FindStringSubmatch(state)
	if m == nil {
		t.Fatalf("no buffers in %q", state)
	}
	receive, _ = strconv.Atoi(m[1])
	send, _ = strconv.Atoi(m[2])
	return send, receive
}

// Four streams use a long, fast path: the buffers of the tunnel's connection exceed tcp_wmem and
// tcp_rmem at both ends, in both directions.
func TestLongFastPathGetsLargeBuffers(t *testing.T) {
	l := lab.New(t)
	server, client := l.Host("server"), l.Host("client")
	link := wan.Link{Delay: 150 * time.Millisecond}
	wan.Connect(t, server, client, directServer+"/24", "198.51.100.2/24", link, link)
	noJournals(t, server, client)
	lowBuffers(server)
	lowBuffers(client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	for name, test := range map[string]struct {
		sender, receiver *lab.Host
		flags            []string
	}{"up": {client, server, nil}, "down": {server, client, []string{"-R"}}} {
		sink := server.Start("iperf3", "-s", "-1", "-B", "10.1.1.1", "--forceflush")
		sink.WaitFor("Server listening", soon)
		streams := client.Start(append([]string{"iperf3", "-c", "10.1.1.1", "-P4", "-t", "60"},
			test.flags...)...)
		eventually(t, name+": the sender's buffer grows",
			func() bool { n, _ := roomOf(t, test.sender); return n > mostSend })
		eventually(t, name+": the receiver's buffer grows",
			func() bool { _, n := roomOf(t, test.receiver); return n > mostReceive })
		streams.Kill()
		sink.Kill()
	}
}

// Four streams use a local path: the buffers stay within the kernel's limits.
func TestLocalPathKeepsDefaultBuffers(t *testing.T) {
	server, client := direct(t)
	lowBuffers(server)
	lowBuffers(client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	client.Run("ping", "-c", "20", "-i", "0.01", "10.1.1.1") // the path's round trip is known
	iperf(t, client, server, "10.1.1.1", "-P4", "-t2")
	iperf(t, client, server, "10.1.1.1", "-P4", "-t2", "-R")
	for _, h := range []*lab.Host{server, client} {
		if send, receive := roomOf(t, h); send > mostSend || receive > mostReceive {
			t.Errorf("%s: buffers of %d and %d bytes; the kernel's bounds are %d and %d", h.Name(),
				send, receive, mostSend, mostReceive)
		}
	}
}
