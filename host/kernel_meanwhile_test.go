package host_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
)

// meanwhile is a Runner that does something before the first transaction of nft.
type meanwhile struct {
	cmdrun.Runner
	do func()
}

func (m *meanwhile) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	if m.do != nil && c.Program == "nft" && strings.HasPrefix(c.Input, "table inet tunnel_tun0") {
		do := m.do
		m.do = nil
		do()
	}
	return m.Runner.Run(ctx, c)
}

// TestKernelOpenedMeanwhile opens connections, and a port, after the ports in use were read and
// before the table is set: the rules have these, too, and are not set a third time.
func TestKernelOpenedMeanwhile(t *testing.T) {
	before := roaming(t)
	portOf := func(a net.Addr) string {
		_, port, _ := net.SplitHostPort(a.String())
		return port
	}
	var opened, udp, listens string
	runner := &meanwhile{do: func() {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		listens = portOf(ln.Addr())
		for network, to := range map[string]string{"tcp": ln.Addr().String(), "udp": "192.168.107.2:9"} {
			conn, err := new(net.Dialer).DialContext(t.Context(), network, to)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if network == "tcp" {
				opened = portOf(conn.LocalAddr())
			} else {
				udp = portOf(conn.LocalAddr())
			}
		}
	}}
	recorder := iptest.NewRecorder(cmdrun.NewExec(nil))
	runner.Runner = recorder
	j, err := openJournal(t.TempDir(), "tun0")
	if err != nil {
		t.Fatal(err)
	}
	r := host.New(journal.Machine{Run: runner, Look: rtnl.Kernel{}}, j, nil)
	t.Cleanup(func() { _ = r.Close() })
	for range 2 {
		if err := r.Apply(t.Context(), alone()); err != nil {
			t.Fatal(err)
		}
	}
	rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "answer")
	for _, want := range []string{`oifname != "lo" tcp sport ` + opened + " accept",
		`oifname != "lo" udp sport ` + udp + " accept", "tcp sport " + listens + " tcp flags ack"} {
		if !strings.Contains(rules, want) {
			t.Errorf("no %q in\n%s", want, rules)
		}
	}
	if n := strings.Count(changes(recorder), "delete table inet tunnel_tun0\ntable"); n != 2 {
		t.Errorf("the table was set %d times, want 2:\n%s", n, changes(recorder))
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}
