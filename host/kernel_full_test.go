package host_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/route"
	"tunnel/rtnl"
)

// fullVariable has a victim take all traffic.
const fullVariable = "TUNNEL_TEST_FULL"

// victimsWant returns what the environment has a victim want, and the command that kills it.
func victimsWant() (w host.Want, at int) {
	w = pair("10.1.1.3", "10.1.1.4")
	at, err := strconv.Atoi(os.Getenv(killVariable))
	if err == nil {
		w = forwarding()
		w.Firewall.KillSwitch = sealed().Firewall.KillSwitch
	}
	if os.Getenv(fullVariable) != "" {
		w = full()
	}
	return w, at
}

// full is the Want of a client with a full tunnel and a kill switch that accepts connections.
func full() host.Want {
	w := pair("10.1.1.3", "10.1.1.4")
	w.Full = host.Full{On: true, Answer: true}
	w.LAN = true
	w.Firewall.KillSwitch = &firewall.KillSwitch{Mark: route.Mark, GuardDNS: true, Inbound: true}
	return w
}

// roaming makes the machine of the documented example, whose interface accepts packets only where
// it would send the answers.
func roaming(t *testing.T) (before string) {
	t.Helper()
	behindGateway(t)
	for dev, value := range map[string]string{"all": "0", "ens160-peer": "0", "ens160": "1"} {
		set(t, "ipv4/conf/"+dev+"/rp_filter", value)
	}
	return whole(t)
}

// hop returns the interface that a packet with that mark leaves by.
func hop(t *testing.T, to string, mark uint32) string {
	t.Helper()
	found, err := rtnl.Kernel{}.Resolve(rtnl.Flow{To: addr(to), Protocol: unix.IPPROTO_TCP,
		Mark: mark})
	if err != nil || len(found.Hops) != 1 {
		t.Fatal(found, err)
	}
	link, err := rtnl.Kernel{}.LinkByIndex(found.Hops[0].Index)
	if err != nil {
		t.Fatal(err)
	}
	return link.Name
}

// TestKernelFull makes all, in order, once, and undoes it in reverse.
func TestKernelFull(t *testing.T) {
	roaming(t)
	dir := t.TempDir()
	iptest.IP(t, "-6 addr add 2001:db8:1::5/64 dev ens160 nodad")
	iptest.IP(t, "-6 route add default via 2001:db8:1::1 dev ens160")
	iptest.IP(t, "route add 172.20.0.0/16 via 192.168.107.2")
	iptest.IP(t, "route add 8.8.4.0/24 via 192.168.107.2")
	before := whole(t)
	r, recorder := newRouter(t, dir)
	r.Marked, r.Full = true, true
	if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
		t.Fatal(err)
	}
	w := full()
	w.LAN, w.Firewall.KillSwitch = false, nil
	if err := r.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	golden(t, "full.txt", changes(recorder))
	for _, test := range []struct {
		to   string
		mark uint32
		dev  string
	}{
		{"8.8.8.8", 0, "tun0"}, {"8.8.8.8", route.Mark, "ens160"}, {"10.1.1.1", 0, "tun0"},
		{"192.168.107.9", 0, "ens160"}, {"101.43.253.110", 0, "tun0"},
		{"101.43.253.110", route.Mark, "ens160"},
	} {
		if dev := hop(t, test.to, test.mark); dev != test.dev {
			t.Errorf("%s with mark %d: by %s, want %s", test.to, test.mark, dev, test.dev)
		}
	}
	if get(t, "ipv4/conf/ens160/src_valid_mark") != "1" {
		t.Error("packets with a mark are not accepted")
	}
	recorder.Reset()
	for n := range 2 { // the server is asked about with its mark
		err := errors.Join(r.Bypass(t.Context(), port("101.43.253.110")), r.Apply(t.Context(), w))
		if ran := changes(recorder); err != nil || strings.Count(ran, "\n") != 4*(n+1) ||
			strings.Count(ran, "flush set inet tunnel_tun0 running\nadd element") != n+1 {
			t.Errorf("once more: %v, ran\n%s", err, ran)
		}
	}
	recorder.Reset()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "full-stop.txt", changes(recorder))
	if whole(t) != before {
		t.Errorf("left\n%s", whole(t))
	}
	empty(t, dir)
}

// TestKernelFullWithoutLAN takes also what the main table has a route for.
func TestKernelFullWithoutLAN(t *testing.T) {
	before := roaming(t)
	r, _ := newRouter(t, t.TempDir())
	r.Marked, r.Full = true, true
	w := full()
	w.LAN, w.Full.NoLAN = false, true
	err := errors.Join(r.Bypass(t.Context(), port("101.43.253.110")), r.Apply(t.Context(), w))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for to, dev := range map[string]string{"192.168.107.9": "tun0", "8.8.8.8": "tun0",
			"10.1.1.1": "tun0"} {
			if got := hop(t, to, 0); got != dev {
				t.Errorf("%s by %s, want %s", to, got, dev)
			}
		}
		next, err := r.NextHop(t.Context(), port("101.43.253.110"))
		if err != nil || next.Dev != "ens160" || next.Gateway != addr("192.168.107.2") {
			t.Errorf("the server by %+v, %v", next, err)
		}
		if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
			t.Error(err)
		}
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelFullRestored has another program take away each part: Apply makes it again.
func TestKernelFullRestored(t *testing.T) {
	before := roaming(t)
	r, _ := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), full()); err != nil {
		t.Fatal(err)
	}
	made := whole(t)
	for _, change := range []string{
		"-4 rule del pref 1100", "-4 rule del pref 1101", "route del default table 29806",
	} {
		iptest.IP(t, change)
		if whole(t) == made {
			t.Fatal("nothing has changed")
		}
		if err := r.Apply(t.Context(), full()); err != nil || whole(t) != made {
			t.Fatalf("%s: %v, the machine has\n%s", change, err, whole(t))
		}
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelFullKilledAtEachStep kills a run before and behind each of its commands: Cleanup leaves
// nothing of it.
func TestKernelFullKilledAtEachStep(t *testing.T) {
	before := roaming(t)
	t.Setenv(fullVariable, "1")
	for step := 1; ; step++ {
		for _, at := range []int{step, -step} {
			dir := t.TempDir()
			up := killAt(t, dir, at)
			if up && step < 10 {
				t.Errorf("it ends before step %d", step)
			}
			if _, err := cleanAll(t, dir); err != nil || whole(t) != before {
				t.Fatalf("killed at %d: %v, left\n%s", at, err, whole(t))
			}
			empty(t, dir)
			if up {
				return
			}
		}
	}
}

// TestKernelFullTwice has two devices: only one has all traffic.
func TestKernelFullTwice(t *testing.T) {
	roaming(t)
	first, _ := newRouter(t, t.TempDir())
	if err := first.Apply(t.Context(), full()); err != nil {
		t.Fatal(err)
	}
	iptest.OpenTun(t, "tun1", 0)
	iptest.IP(t, "link set tun1 up mtu 1400")
	made := whole(t)
	j, err := openJournal(t.TempDir(), "tun1")
	if err != nil {
		t.Fatal(err)
	}
	second := host.New(kernel(), j, nil)
	w := full()
	w.Dev, w.Addresses[0], w.Routes[0] = "tun1", host.Address{Local: addr("10.2.1.3"),
		Peer: addr("10.2.1.4")}, host.Route{Prefix: prefix("10.2.1.0/24"), Via: addr("10.2.1.4")}
	err = second.Apply(t.Context(), w)
	if err == nil || !strings.Contains(err.Error(), "another full tunnel has all traffic") {
		t.Errorf("%v", err)
	}
	if err := second.Close(); err != nil || whole(t) != made {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestFullWithoutRules is a kernel that knows no rules: two halves are more than a default route.
func TestFullWithoutRules(t *testing.T) {
	var out strings.Builder
	w := pair("10.1.1.3", "10.1.1.4")
	w.Full.On = true
	if err := dryHost(&out, pretend(t, true)).Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{"ip -6 route add unreachable ::/1\n",
		"ip -6 route add unreachable 8000::/1\n", "ip route add 0.0.0.0/1 dev tun0\n",
		"ip route add 128.0.0.0/1 dev tun0\n"} {
		if strings.Contains(want, "-6") && !hasIPv6() {
			continue
		}
		if !strings.Contains(text, want) {
			t.Errorf("no %sran\n%s", want, text)
		}
	}
	if strings.Contains(text, "rule") {
		t.Errorf("ran\n%s", text)
	}
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// TestKernelLAN has the machine get another network, and lose it: the kill switch follows.
func TestKernelLAN(t *testing.T) {
	roaming(t)
	iptest.Link(t, "wan0", "198.51.100.9/24")
	r, _ := newRouter(t, t.TempDir())
	w := sealed()
	w.LAN = true
	lan := func(want ...string) {
		t.Helper()
		if err := r.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "input")
		for _, n := range []string{"192.168.107.0/24", "172.20.0.0/16", "fd07:1::/64",
			"203.0.113.0/24"} {
			if got := strings.Contains(rules, n); got != strings.Contains(strings.Join(want, " "), n) {
				t.Errorf("%s: %v in\n%s", n, got, rules)
			}
		}
		// Only the LAN's interface, of those that there are.
		rules = nft(t, "list", "chain", "inet", "tunnel_tun0", "output")
		if !strings.Contains(rules, "\toifname \"ens160\" ip daddr { 224.0.0.0/24, ") {
			t.Errorf("the LAN's multicast is not found in\n%s", rules)
		}
	}
	lan("192.168.107.0/24")
	iptest.IP(t, "addr add 172.20.1.1/16 dev ens160")
	iptest.IP(t, "addr add 203.0.113.5/24 dev ens160")
	iptest.IP(t, "addr add fd07:1::5/64 dev ens160 nodad")
	lan("192.168.107.0/24", "172.20.0.0/16", "fd07:1::/64")
	iptest.IP(t, "route add 172.20.200.0/24 dev wan0") // and not what a gateway has
	iptest.IP(t, "route add 172.20.201.0/24 via 198.51.100.1 dev wan0")
	lan("192.168.107.0/24", "172.20.0.0/16", "fd07:1::/64")
	if rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "output"); !strings.Contains(rules,
		"\toifname \"wan0\" ip daddr 172.20.200.0/24 accept") || strings.Contains(rules, "172.20.201") {
		t.Errorf("a part of the LAN is by another interface:\n%s", rules)
	}
	iptest.IP(t, "addr del 192.168.107.5/24 dev ens160")
	lan("172.20.0.0/16", "fd07:1::/64")
}

// TestKernelListening takes the ports on which the machine listens, and no others, into the rules
// for connections that are older than the run.
func TestKernelListening(t *testing.T) {
	roaming(t)
	for _, at := range []string{"0.0.0.0:0", "[::]:0"} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		port := netip.MustParseAddrPort(ln.Addr().String()).Port()
		r, _ := newRouter(t, t.TempDir())
		w := full()
		if err := r.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if rules := nft(t, "list", "chain", "inet", "tunnel_tun0", "answer"); !strings.Contains(rules,
			fmt.Sprint(port)) {
			t.Errorf("no port %d in\n%s", port, rules)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
