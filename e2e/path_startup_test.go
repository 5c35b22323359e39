package e2e

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// On a long path the tunnel's own connection uses BBR, which must leave STARTUP: there it sends at
// 2.9 times the bottleneck's rate and loses what the queue cannot hold, here 5 MB and more. 1 to 2
// MB are lost before BBR can know.
func TestLeavesStartup(t *testing.T) {
	l := lab.New(t)
	server, client := l.Host("server"), l.Host("client")
	link := wan.Link{Rate: 100e6, Delay: 20 * time.Millisecond, Queue: 500e3}
	wan.Connect(t, server, client, directServer+"/24", "198.51.100.2/24", link, link)
	noJournals(t, server, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	sink := server.Start("iperf3", "-s", "-1", "-B", "10.1.1.1", "--forceflush")
	sink.WaitFor("Server listening", 20*time.Second)
	stream := client.Start("iperf3", "-c", "10.1.1.1", "-t", "20")
	time.Sleep(6 * time.Second)
	state := client.Run("ss", "-tinO", "dst", directServer)
	stream.Kill()
	m := regexp.MustCompile(
		`bbr .*bytes_sent:([0-9]+)(?: bytes_retrans:([0-9]+))?.*pacing_gain:([0-9.]+)`).
		FindStringSubmatch(state)
	if m == nil {
		t.Fatalf("not on BBR: %s", state)
	}
	sent, _ := strconv.Atoi(m[1])
	again, _ := strconv.Atoi(m[2]) // absent if there was no retransmission
	gain, _ := strconv.ParseFloat(m[3], 64)
	if sent < 10e6 || again > 4e6 || gain > 1.5 {
		t.Errorf("sent %d bytes, %d of them again, and has a gain of %v", sent, again, gain)
	}
}
