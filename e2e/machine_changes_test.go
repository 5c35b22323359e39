package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// A foreignChange is a change that another program makes to the tunnel's device.
type foreignChange struct {
	name     string
	commands []string // arguments of ip; the device is tun0
}

func foreignChanges(local, peer string) []foreignChange {
	return []foreignChange{
		{"link down and up", []string{"link set tun0 down", "link set tun0 up"}},
		{"link down", []string{"link set tun0 down"}},
		{"address deleted", []string{"addr del " + local + "/32 peer " + peer + "/32 dev tun0"}},
		{"addresses flushed", []string{"addr flush dev tun0"}},
		{"route deleted", []string{"route del 10.1.1.0/24"}},
		{"route to the peer deleted", []string{"route del " + peer + "/32",
			"route del 10.1.1.0/24"}},
		{"mtu changed", []string{"link set tun0 mtu 900"}},
		{"queue changed", []string{"link set tun0 txqueuelen 7"}},
		{"main table flushed", []string{"route flush table main"}},
	}
}

// asItWas reports whether tun0 has its whole configuration.
func asItWas(h *lab.Host, local, peer string) bool {
	link, _, _ := h.Try("ip", "link", "show", "dev", "tun0")
	addr, _, _ := h.Try("ip", "-4", "addr", "show", "dev", "tun0")
	return strings.Contains(link, ",UP") && strings.Contains(link, "mtu 1400 ") &&
		strings.Contains(link, "qlen 100") &&
		strings.Contains(addr, "inet "+local+" peer "+peer+"/32") &&
		slices.Contains(routes(h, "show", "10.1.1.0/24"), "10.1.1.0/24 via "+peer+" dev tun0")
}

// Other programs change what the tunnel has configured, on either side: it is restored at once,
// with a log line, and packets pass.
func TestForeignChangesAreRestored(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "server"} {
		local, peer := "10.1.1.3", "10.1.1.4"
		if side == "server" {
			local, peer = "10.1.1.1", "10.1.1.2"
		}
		for _, m := range sample(t, 5, foreignChanges(local, peer)) {
			t.Run(side+", "+m.name, func(t *testing.T) {
				server, client, _ := routed(t)
				bin := plainBuild(t)
				srv := bin.serve(t, server, "--plain")
				cl := bin.connect(t, client, routedURL)
				host, proc := client, cl
				if side == "server" {
					host, proc = server, srv
				}
				kept := routes(host)
				ipDo(host, m.commands[0])
				for _, command := range m.commands[1:] { // the program may have restored it already
					_, _, _ = host.Try(strings.Fields("ip " + command)...)
				}
				begin := time.Now()
				// Restore the routes that the flush has removed and that are not the tunnel's.
				for _, r := range slices.Backward(kept) {
					if !strings.Contains(r, "tun0") && !strings.Contains(r, "203.0.113.1 via") {
						_, _, _ = host.Try("sh", "-c", "ip route add "+r)
					}
				}
				eventually(t, "the device is as it was",
					func() bool { return asItWas(host, local, peer) })
				t.Logf("recovered after %v", time.Since(begin).Round(10*time.Millisecond))
				reaches(t, client, "10.1.1.1")
				reaches(t, server, "10.1.1.3")
				if !strings.Contains(proc.Stderr(),
					"restored what something else on this machine has changed") {
					t.Errorf("no log line:\n%s", proc.Stderr())
				}
				stop(t, cl)
				stop(t, srv)
			})
		}
	}
}

// The bypass is deleted during a session, and restored.
func TestBypassDeletedIsRestored(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	client.Run("ip", "route", "del", "203.0.113.1")
	eventually(t, "the bypass is back",
		func() bool { return len(routes(client, "show", "exact", "203.0.113.1")) == 1 })
	if downs(cl) != 0 {
		t.Errorf("lost the connection: %s", cl.Stdout())
	}
	stop(t, cl)
}

// Another program deletes the route again and again, on either side: the run ends.
func TestContestedDeviceEndsTheRun(t *testing.T) {
	t.Parallel()
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			server, client, _ := routed(t)
			bin := plainBuild(t)
			proc := bin.serve(t, server, "--plain")
			host := server
			if side == "client" {
				proc, host = bin.connect(t, client, routedURL), client
			}
			for deadline := time.Now().Add(soon); !proc.Exited() && time.Now().Before(deadline); time.Sleep(
				100 * time.Millisecond) {
				_, _, _ = host.Try("ip", "route", "del", "10.1.1.0/24")
			}
			if code := proc.Wait(soon); code != 10 {
				t.Errorf("exit code %d, want 10", code)
			}
			if want := "tunnel: device: tun0: taken away again and again"; !strings.Contains(proc.Stderr(),
				want) {
				t.Errorf("no line %q:\n%s", want, proc.Stderr())
			}
		})
	}
}

// The device is renamed, deleted or moved to another network namespace, on either side: the run
// ends, takes the device with it, and leaves the machine as it was.
func TestDeviceGoneEndsTheRun(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"renamed": {"link set tun0 down", "link set tun0 name other0"},
		"deleted": {"link del tun0"},
		"moved":   {"link set tun0 netns ELSEWHERE"},
	} {
		for _, side := range []string{"client", "server"} {
			t.Run(side+", "+name, func(t *testing.T) {
				server, client, router := routed(t)
				host := map[string]*lab.Host{"client": client, "server": server}[side]
				before := tables(t, host)
				bin := plainBuild(t)
				proc := bin.serve(t, server, "--plain")
				if side == "client" {
					proc = bin.connect(t, client, routedURL)
				}
				for _, command := range commands {
					ipDo(host, strings.NewReplacer("ELSEWHERE", router.NS(), "HERE",
						host.NS()).Replace(command))
				}
				if code := proc.Wait(soon); code != 10 || !strings.Contains(proc.Stderr(),
					"tunnel: device: the device is gone") {
					t.Errorf("exit code %d\n%s", code, proc.Stderr())
				}
				for _, h := range []*lab.Host{host, router} {
					if links := h.Run("ip", "-o", "link"); strings.Contains(links, "tun0") ||
						strings.Contains(links, "other0") {
						t.Errorf("the device is left:\n%s", links)
					}
				}
				untouched(t, host, before)
			})
		}
	}
}

// The bypass has the path of the default route: gateway, source address, MTU and other attributes.
func TestBypassKeepsThePath(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare []string
		want    string
	}{
		"plain": {nil, "203.0.113.1 via 10.77.0.1 dev eth0"},
		"a metric": {[]string{"route replace default via 10.77.0.1 metric 100"},
			"203.0.113.1 via 10.77.0.1 dev eth0"},
		"the source that it would have": {
			[]string{"route replace default via 10.77.0.1 src 10.77.0.2 proto dhcp"},
			"203.0.113.1 via 10.77.0.1 dev eth0",
		},
		"another source": {
			[]string{"addr add 10.77.0.9/24 dev eth0",
				"route replace default via 10.77.0.1 src 10.77.0.9"},
			"203.0.113.1 via 10.77.0.1 dev eth0 src 10.77.0.9",
		},
		"onlink": {
			[]string{"addr flush dev eth0", "addr add 10.77.0.2/32 dev eth0",
				"route replace default via 10.77.0.1 dev eth0 onlink"},
			"203.0.113.1 via 10.77.0.1 dev eth0 onlink",
		},
		"path": {
			[]string{"route replace default via 10.77.0.1 mtu 1300 advmss 1200 initcwnd 20"},
			"203.0.113.1 via 10.77.0.1 dev eth0 mtu 1300 advmss 1200 initcwnd 20",
		},
		"locked": {
			[]string{"route replace default via 10.77.0.1 mtu lock 1300 rtt 30ms features ecn " +
				"congctl reno"},
			"203.0.113.1 via 10.77.0.1 dev eth0 mtu lock 1300 rtt 30ms features ecn congctl reno",
		},
		"nexthop object": {
			[]string{"nexthop add id 5 via 10.77.0.1 dev eth0", "route replace default nhid 5"},
			"203.0.113.1 via 10.77.0.1 dev eth0",
		},
		"two hops": {
			[]string{"route replace default nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.1 " +
				"dev eth0 weight 3"},
			"203.0.113.1 via 10.77.0.1 dev eth0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, client, _ := routed(t)
			for _, command := range test.prepare {
				ipDo(client, command)
			}
			before := tables(t, client)
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			cl := bin.connect(t, client, routedURL)
			words := func(
				s string) string {
				return strings.Join(slices.Sorted(slices.Values(strings.Fields(s))), " ")
			}
			if have := routes(client, "show", "exact", "203.0.113.1"); len(have) != 1 ||
				words(have[0]) != words(test.want) {
				t.Errorf("the bypass is %q, want %q", have, test.want)
			}
			reaches(t, client, "10.1.1.1")
			// This change makes the client check its path.
			client.Run("ip", "route", "add", "198.18.0.0/15", "via", "10.77.0.1", "dev", "eth0",
				"onlink")
			client.Run("ip", "route", "del", "198.18.0.0/15")
			client.Run("ip", "rule", "add", "pref", "9", "to", "198.18.0.1", "lookup", "main")
			client.Run("ip", "rule", "del", "pref", "9")
			time.Sleep(500 * time.Millisecond)
			if n := strings.Count(cl.Stderr(), "ip -4 r "); n != 1 || downs(cl) != 0 {
				t.Errorf("%d changes of the bypass, %d lost connections\n%s", n, downs(cl),
					cl.Stderr())
			}
			stop(t, cl)
			untouched(t, client, before)
		})
	}
}

// The kernel refuses the bypass: the client warns once, and the session works.
func TestBypassFails(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	client.Run("ip", "route", "replace", "default", "via", "10.77.0.1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	// An ip that fails stands for any reason.
	dir := ipAs(t, `[ "$2" != r ] || { echo "Error: Nexthop has invalid gateway." >&2; exit 2; }`+
		"\nexec "+strings.TrimSpace(client.Run("sh", "-c", "command -v ip"))+` "$@"`+"\n")
	cl := bin.startWrapped(t, client, []string{"env", "PATH=" + dir +
		":/usr/sbin:/usr/bin:/sbin:/bin"}, "connect", routedURL)
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	// This change makes the client check its path.
	client.Run("ip", "rule", "add", "pref", "9", "to", "198.18.0.1", "lookup", "main")
	time.Sleep(500 * time.Millisecond)
	if n := strings.Count(cl.Stderr(), "no bypass: "); n != 1 {
		t.Errorf("warned %d times\n%s", n, cl.Stderr())
	}
	stop(t, cl)
}

// The default route is in a table of its own, before or after the main table: the bypass is not
// made again and again.
func TestRulesChooseThePath(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rule  string
		most  int // limit of the changes of the bypass
		stays int // bypasses afterwards
	}{
		"after main":  {"pref 32767 from all lookup 201", 1, 1},
		"before main": {"pref 100 from all lookup 201", 2, 0},
		"to":          {"pref 100 to 203.0.113.1 lookup 201", 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server, client, _ := routed(t)
			client.Run("ip", "route", "add", "default", "via", "10.77.0.1", "dev", "eth0", "table",
				"201")
			if name == "before main" {
				client.Run("ip", "rule", "add", "pref", "99", "to", "10.1.1.0/24", "lookup", "main")
			}
			ipDo(client, "rule add "+test.rule)
			if name != "to" {
				client.Run("ip", "route", "del", "default")
			}
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			cl := bin.connect(t, client, routedURL)
			reaches(t, client, "10.1.1.1")
			for i := range 5 { // changes that make the client check its path
				client.Run("ip", "route", "replace", "203.0.112.0/23", "via", "10.77.0.1", "dev",
					"eth0", "table", fmt.Sprint(300+i))
				time.Sleep(300 * time.Millisecond)
			}
			if n := strings.Count(cl.Stderr(), "ip -4 r "); n > test.most || downs(cl) != 0 {
				t.Errorf("%d changes of the bypass, want at most %d; %d lost connections\n%s", n,
					test.most, downs(cl), cl.Stderr())
			}
			if have := routes(client, "show", "exact", "203.0.113.1"); len(have) != test.stays {
				t.Errorf("bypasses: %q, want %d", have, test.stays)
			}
			stop(t, cl)
		})
	}
}

// During a session the machine gets a network that overlaps the tunnel's, in several forms: that
// network is reachable at once, and the tunnel returns when it goes.
func TestRoamingIntoOverlap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ come, leave []string }{
		"a LAN": {[]string{"addr add 10.1.1.77/24 dev wlan0"},
			[]string{"addr del 10.1.1.77/24 dev wlan0"}},
		"a larger LAN": {[]string{"addr add 10.1.9.77/16 dev wlan0"}, []string{"link del wlan0"}},
		"a route": {[]string{"addr add 172.20.0.2/24 dev wlan0",
			"route add 10.1.1.128/25 via 172.20.0.1"}, []string{"route del 10.1.1.128/25"}},
		"a peer": {[]string{"addr add 172.20.0.2 peer 10.1.1.50 dev wlan0 noprefixroute"},
			[]string{"addr del 172.20.0.2 peer 10.1.1.50 dev wlan0"}},
		"a local route": {[]string{"route add local 10.1.1.64/26 dev lo"},
			[]string{"route del local 10.1.1.64/26 dev lo"}},
		"ours replaced": {[]string{"route replace 10.1.1.0/24 dev wlan0"},
			[]string{"route del 10.1.1.0/24 dev wlan0"}},
	} {
		t.Run(name, func(t *testing.T) {
			server, client, _ := routed(t)
			client.Run("ip", "link", "add", "wlan0", "type", "veth", "peer", "name", "air0")
			client.Run("ip", "link", "set", "air0", "up")
			client.Run("ip", "link", "set", "wlan0", "up")
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			cl := bin.connect(t, client, routedURL)
			for _, command := range test.come {
				ipDo(client, command)
			}
			cl.WaitFor("down: 10.1.1.0/24 overlaps the ", soon)
			eventually(t, "the tunnel has withdrawn", func() bool {
				return !strings.Contains(client.Run("ip", "-4", "route", "get", "10.1.1.200"),
					"tun0") &&
					!strings.Contains(client.Run("ip", "-4", "addr", "show", "dev", "tun0"),
						"inet ")
			})
			if !strings.Contains(cl.Stderr(), "address and route withdrawn") {
				t.Errorf("no log line:\n%s", cl.Stderr())
			}
			for _, command := range test.leave {
				ipDo(client, command)
			}
			begin := time.Now()
			cl.WaitForNth("up: ", 2, soon)
			t.Logf("back after %v", time.Since(begin).Round(10*time.Millisecond))
			reaches(t, client, "10.1.1.1")
			stop(t, cl)
		})
	}
}

// ipDo runs ip on a host with the words of command as arguments.
func ipDo(h *lab.Host, command string) {
	h.Run(append([]string{"ip"}, strings.Fields(command)...)...)
}

// A rule sends all packets past the main table: the client is not up, since its route has no
// effect.
func TestRouteThatIsNotUsed(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	ipDo(client, "route add default via 10.77.0.1 dev eth0 table 201")
	ipDo(client, "rule add pref 100 from all lookup 201")
	cl := bin.startConnect(t, client, routedURL)
	if code := cl.Wait(soon); code != 11 || len(stdoutLines(cl, "up: ")) != 0 ||
		!strings.Contains(cl.Stderr(), "tunnel: route: the route is not used: ") {
		t.Errorf("exit code %d\n%s%s", code, cl.Stdout(), cl.Stderr())
	}
	// During a session.
	ipDo(client, "rule del pref 100")
	cl = bin.connect(t, client, routedURL)
	ipDo(client, "rule add pref 100 from all lookup 201")
	cl.WaitFor("down: the route is not used", soon)
	ipDo(client, "rule del pref 100")
	cl.WaitForNth("up: ", 2, soon)
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
}
