package e2e

import (
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// reconnectLimit bounds the time until a client is connected again: its longest pause between two
// attempts, and the length of an attempt that began during the outage.
const reconnectLimit = 15*time.Second + 10*time.Second + soon

// breakPath cuts a client's path to the server for outage while that client and another one have a
// TCP connection each inside the tunnel. The first one's connection goes on after the outage, with
// the same device; the other's is not affected. If the outage is longer than two ping intervals
// both sides notice within that time, and the client reconnects; otherwise it does not.
func breakPath(t *testing.T, bin program, interval, outage time.Duration, server *lab.Host,
	clients []*lab.Host, cut, restore func()) {
	t.Helper()
	srv := bin.serve(t, server, "--plain", "--ping-interval", interval.String())
	cl := bin.connect(t, clients[0], directURL)
	other := bin.connect(t, clients[1], directURL)
	was, index := tablesWithoutIndexes(t, clients[0]), device(clients[0], "tun0")
	hurt := startExchange(t, clients[0], server, "10.1.1.1")
	unhurt := startExchange(t, clients[1], server, "10.1.1.1")
	hurt.flows(soon)
	unhurt.flows(soon)

	cut()
	begin := time.Now()
	reconnects := outage > 2*interval+slack
	if reconnects {
		cl.WaitFor("down: ", soon)
		noticed := time.Since(begin)
		srv.WaitFor(leftMessage, soon)
		if noticed = max(noticed, time.Since(begin)); noticed > 2*interval+slack {
			t.Errorf("noticed after %v, want at most two intervals of %v", noticed, interval)
		}
	}
	before := unhurt.received()
	time.Sleep(outage - time.Since(begin))
	unhurt.flows(soon)
	if n := unhurt.received() - before; n == 0 {
		t.Error("the other client's transfer stood still")
	}
	restore()
	took := hurt.flows(reconnectLimit)
	t.Logf("out for %v; the transfer goes on %v after", outage, took.Round(time.Millisecond))
	hurt.finish()
	unhurt.finish()

	ups := stdoutLines(cl, "up: ")
	if reconnects != (len(ups) > 1) || ups[0] != ups[len(ups)-1] {
		t.Errorf("the client says %q", ups)
	}
	if now := device(clients[0], "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
	if now := tablesWithoutIndexes(t, clients[0]); now != was {
		t.Errorf("the client's tables are\n%s\nwere\n%s", now, was)
	}
	if len(stdoutLines(other, "down: ")) > 0 {
		t.Errorf("the other client lost its connection:\n%s", other.Stderr())
	}
}

// A client's cable is unplugged for 1, 10 and 30 seconds. The shortest outage causes no
// reconnection.
func TestCableOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ interval, outage time.Duration }{
		{20 * time.Second, time.Second},
		{2 * time.Second, 10 * time.Second},
		{2 * time.Second, 30 * time.Second},
	} {
		t.Run(test.outage.String(), func(t *testing.T) {
			t.Parallel()
			server, clients, sw := switched(t, 2)
			cable := func(state string) func() {
				return func() { sw.Run("ip", "link", "set", "dev", "eth1", state) }
			}
			breakPath(t, raceBuild(t), test.interval, test.outage, server, clients, cable("down"),
				cable("up"))
		})
	}
}

// A client's packets are dropped on the path, in one direction or both, without a reset, an ICMP
// error or a loss of carrier.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]string{
		"both ways":     {`iifname "eth1"`, `oifname "eth1"`},
		"to the server": {`iifname "eth1"`},
		"to the client": {`oifname "eth1"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, clients, sw := switched(t, 2)
			var restore func()
			cut := func() { restore = blackHole(t, sw, rules...) }
			breakPath(t, plainBuild(t), 2*time.Second, 12*time.Second, server, clients, cut,
				func() { restore() })
		})
	}
}

// blackHole makes a switch drop the IPv4 packets that match any of nft's rules, until restore is
// called.
func blackHole(t *testing.T, sw *lab.Host, rules ...string) (restore func()) {
	t.Helper()
	lines := []string{"table bridge hole {", "chain forward {",
		"type filter hook forward priority 0; policy accept;"}
	for _, rule := range rules {
		lines = append(lines, rule+" ether type ip drop")
	}
	cmd := sw.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.Join(append(lines, "}", "}", ""), "\n"))
	if out, stderr, code := sw.TryCommand(cmd); code != 0 {
		t.Fatalf("nft: exit code %d\n%s%s", code, out, stderr)
	}
	return func() { sw.Run("nft", "delete", "table", "bridge", "hole") }
}
