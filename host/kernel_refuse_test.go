package host_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
)

// alone is full without a kill switch.
func alone() host.Want {
	w := full()
	w.LAN, w.Firewall.KillSwitch = false, nil
	return w
}

// TestKernelFullMoved has the server give another address: the default route of the tunnel is there
// all the time, and nothing has to be restored.
func TestKernelFullMoved(t *testing.T) {
	before := roaming(t)
	r, recorder := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), alone()); err != nil {
		t.Fatal(err)
	}
	recorder.Reset()
	w := alone()
	w.Addresses[0] = host.Address{Local: addr("10.2.1.3"), Peer: addr("10.2.1.4")}
	w.Routes[0] = host.Route{Prefix: prefix("10.2.1.0/24"), Via: addr("10.2.1.4")}
	if err := r.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	ran := changes(recorder)
	added := strings.Index(ran, "ip addr add dev tun0 local 10.2.1.3 peer 10.2.1.4")
	removed := strings.Index(ran, "ip addr del dev tun0 local 10.1.1.3 peer 10.1.1.4")
	if added < 0 || removed < added || strings.Contains(ran, "default") {
		t.Errorf("ran\n%s", ran)
	}
	if dev := hop(t, "8.8.8.8", 0); dev != "tun0" {
		t.Errorf("by %s", dev)
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelWithdrawKeepsFull gives the tunnel's network up: what would leave is refused until it
// is back, but for the LAN, also the one that has come meanwhile.
func TestKernelWithdrawKeepsFull(t *testing.T) {
	before := roaming(t)
	r, recorder := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), alone()); err != nil {
		t.Fatal(err)
	}
	iptest.IP(t, "addr add 10.1.1.50/25 dev ens160")
	for range 2 {
		recorder.Reset()
		if err := r.Withdraw(t.Context()); err != nil {
			t.Fatal(err)
		}
		rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "output")
		if !strings.Contains(rules, "meta nfproto @running reject") ||
			!strings.Contains(rules, "10.1.1.0/25") || hop(t, "8.8.8.8", 0) != "ens160" {
			t.Errorf("withdrawn: %s", rules)
		}
	}
	if ran := changes(recorder); !strings.Contains(ran, "add element inet tunnel_tun0 running") {
		t.Errorf("not renewed, ran\n%s", ran)
	}
	iptest.IP(t, "addr del 10.1.1.50/25 dev ens160")
	if err := r.Apply(t.Context(), alone()); err != nil || hop(t, "8.8.8.8", 0) != "tun0" {
		t.Error(err)
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelOlder takes the ports of connections that this machine has opened into the rules, and
// not those of connections that it has accepted.
func TestKernelOlder(t *testing.T) {
	roaming(t)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	portOf := func(network, to string) (port string) {
		conn, err := new(net.Dialer).DialContext(t.Context(), network, to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_, port, _ = net.SplitHostPort(conn.LocalAddr().String())
		return port
	}
	tcp, udp := portOf("tcp", ln.Addr().String()), portOf("udp", "192.168.107.2:9")
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = accepted.Close() }()
	anyone, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = anyone.Close() }()
	r, _ := newRouter(t, t.TempDir())
	err = r.Apply(t.Context(), alone())
	rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "answer")
	want := []string{`oifname != "lo" tcp sport ` + tcp + " accept",
		`oifname != "lo" udp sport ` + udp + " accept"}
	for _, rule := range want {
		if !strings.Contains(rules, rule) {
			t.Errorf("no %q in\n%s", rule, rules)
		}
	}
	_, port, _ := net.SplitHostPort(anyone.LocalAddr().String())
	_, listens, _ := net.SplitHostPort(ln.Addr().String())
	if err := errors.Join(err, r.Close()); err != nil || strings.Contains(rules, "udp sport "+port) ||
		strings.Contains(rules, "tcp sport "+listens+" accept") {
		t.Errorf("%v\n%s", err, rules)
	}
}
