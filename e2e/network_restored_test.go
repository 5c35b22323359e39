package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tunnel/e2e/lab"
)

// restoredLine is in the log when what another program has changed is as it was again.
const restoredLine = "restored what something else on this machine has changed"

// TestFullTunnelRestored has another program take away what holds a full tunnel's traffic, and time
// end its refusals, which the kernel does while the client is stopped: all is back once the client
// runs, although no event tells of it.
func TestFullTunnelRestored(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		take  []string
		leaks bool
	}{
		"the lease": {[]string{"nft", "flush", "set", "inet", "tunnel_tun0", "running"}, true},
		"the table": {[]string{"nft", "delete", "table", "inet", "tunnel_tun0"}, true},
		"a rule":    {[]string{"ip", "rule", "del", "pref", "1101"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client, _ := roaming(t)
			before := machineState(t, client)
			bin := plainBuild(t)
			bin.serve(t, server, "--plain")
			chat(t, client)
			cl := bin.connect(t, client, routedURL, "--full-tunnel")
			inside(t, client)
			seen := sniff(t, client)
			client.Run("sleep", "0.3") // while chatter sends
			silent(t, seen, "connected,")
			cl.Signal(syscall.SIGSTOP) // so that it is gone for long enough to be seen
			client.Run(test.take...)
			if test.leaks {
				loud(t, seen, outside6)
			} else {
				client.Run("sleep", "0.3")
				silent(t, seen, "without "+name+",")
			}
			cl.Signal(syscall.SIGCONT)
			if name == "the lease" { // one that is renewed before it is missed needs no line
				eventually(t, "the lease lasts again", func() bool {
					return strings.Contains(client.Run("nft", "list", "set", "inet",
						"tunnel_tun0", "running"), "elements")
				})
			} else {
				cl.WaitFor(restoredLine, soon)
			}
			inside(t, client)
			quiet(t, client, "restored,", func() {
				client.Run("python3", "-c", bound)
				inside(t, client)
			})
			reaches(t, client, "10.1.1.1")
			stop(t, cl)
			restored(t, client, before)
		})
	}
}

// TestKillSwitchStopped stops a client with SIGSTOP, until its hub has given it up: nothing leaves,
// because no rule of its table ends by time, and it is back after SIGCONT.
func TestKillSwitchStopped(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	chat(t, client)
	client.Hosts()
	err := os.WriteFile(filepath.Join("/etc/netns", client.NS(), "resolv.conf"),
		[]byte("nameserver 10.77.0.1\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	cl := bin.connect(t, client, routedURL, "--full-tunnel", "--kill-switch")
	cl.WaitFor("names do not resolve: this machine's DNS servers are on its LAN", soon)
	inside(t, client)
	seen := sniff(t, client)
	cl.Signal(syscall.SIGSTOP)
	srv.WaitFor("msg=disconnected", soon)
	rules := client.Run("nft", "list", "table", "inet", "tunnel_tun0")
	for _, timed := range []string{"timeout", "meta time", "@"} {
		if strings.Contains(rules, timed) {
			t.Errorf("a rule ends by time (%s):\n%s", timed, rules)
		}
	}
	silent(t, seen, "stopped,")
	cl.Signal(syscall.SIGCONT)
	cl.WaitForNth("up: ", 2, soon)
	inside(t, client)
	reaches(t, client, "10.1.1.1")
	silent(t, seen, "continued,")
	stop(t, cl)
	loud(t, seen, outside4, outside6)
	restored(t, client, before)
}

// asks opens a connection of a kind to a port of a host, and prints the number of the error.
const asks = `
import socket, sys, time
late = time.monotonic() + 20
while time.monotonic() < late:
    with socket.socket(socket.AF_INET6, getattr(socket, sys.argv[2])) as s:
        s.settimeout(2)
        try:
            s.connect((sys.argv[1], 80))
            s.send(b"x")
            s.recv(1)
        except socket.timeout: continue
        except OSError as e: print(e.errno)
        break
`

// TestFullTunnelBehind has a container with a public IPv6 address behind the client: TCP and UDP in
// both directions are refused by ICMPv6 at once, with a kill switch dropped, and nothing of them
// leaves, until the end.
func TestFullTunnelBehind(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{false, true} {
		flags := []string{"--full-tunnel"}
		if sealed {
			flags = append(flags, "--kill-switch")
		}
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			w := newPageWorld(t)
			hub, client, router, container := w.hub, w.laptop, w.router, w.Host("container")
			w.Link(client, "172.17.0.1/24", container, "172.17.0.2/24")
			const inner, outer = "2001:db8:5::2", "2001:db8:9::1"
			for _, h := range []struct {
				addr, via string
				run       func(...string) string
				dev       string
			}{
				{outer, "2001:db8:9::fe", hub.Run, "eth0"}, {"2001:db8:9::fe", "", router.Run, "eth0"},
				{"2001:db8:1::1", "", router.Run, "eth1"},
				{"2001:db8:1::2", "2001:db8:1::1", client.Run, "eth0"},
				{"2001:db8:5::1", "", client.Run, "eth1"},
				{inner, "2001:db8:5::1", container.Run, "eth0"},
			} {
				h.run("ip", "-6", "addr", "add", h.addr+"/64", "dev", h.dev, "nodad")
				if h.via != "" {
					h.run("ip", "-6", "route", "add", "default", "via", h.via)
				}
			}
			router.Sysctl("net.ipv6.conf.all.forwarding", "1")
			client.Sysctl("net.ipv6.conf.all.forwarding", "1")
			router.Run("ip", "-6", "route", "add", "2001:db8:5::/64", "via", "2001:db8:1::2")
			reaches(t, container, outer)
			reaches(t, hub, inner)
			before := machineState(t, client)
			bin := plainBuild(t)
			bin.serve(t, hub, "--plain")
			cl := bin.connect(t, client, routedURL, flags...)
			refused := func(h *lab.Host, addr string) {
				t.Helper()
				cannotReach(t, h, addr)
				for _, kind := range []string{"SOCK_STREAM", "SOCK_DGRAM"} {
					if sealed {
						break
					}
					out, stderr, _ := h.Try("python3", "-c", asks, addr, kind)
					// EACCES, administratively prohibited, or ECONNREFUSED, a reset
					if out != "13\n" && out != "111\n" {
						t.Errorf("%s to %s: %s%s", kind, addr, out, stderr)
					}
				}
			}
			quiet(t, client, "of a host behind it,", func() { refused(container, outer) })
			refused(hub, inner)
			stop(t, cl)
			reaches(t, container, outer)
			reaches(t, hub, inner)
			restored(t, client, before)
		})
	}
}

// TestFullTunnelWithoutRules runs on a kernel without policy routing, as norules.py has it: a full
// tunnel carries IPv4 by routes to both halves of all addresses, and refuses IPv6, also with a kill
// switch. All is undone at its end, and after SIGKILL.
func TestFullTunnelWithoutRules(t *testing.T) {
	t.Parallel()
	wrap := []string{python, "norules.py"}
	for _, flags := range [][]string{{"--full-tunnel"}, {"--full-tunnel", "--kill-switch"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			server, client, _ := roaming(t)
			before := machineState(t, client)
			_, stderr, code := client.Try(append(wrap, "ip", "rule", "add", "pref", "9", "table", "9")...)
			if code == 0 || !strings.Contains(stderr, "Operation not supported") {
				t.Fatalf("the kernel knows rules: %d, %s", code, stderr)
			}
			bin := plainBuild(t)
			bin.serve(t, server, "--plain", "--push-route", outside4+"/32")
			chat(t, client)
			connect := append(append([]string{"connect"}, flags...), routedURL)
			start := func() *lab.Proc {
				t.Helper()
				p := bin.startWrapped(t, client, wrap, connect...)
				p.WaitFor("up: ", soon)
				return p
			}
			cl := start()
			quiet(t, client, "without rules,", func() {
				inside(t, client)
				reaches(t, client, "10.1.1.1")
				reaches(t, client, outside4) // by the hub
			})
			reaches(t, client, "10.77.0.1") // the LAN
			for _, half := range []string{"0.0.0.0/1 dev tun0", "128.0.0.0/1 dev tun0"} {
				if routes := client.Run("ip", "route"); !strings.Contains(routes, half) {
					t.Errorf("no %q in\n%s", half, routes)
				}
			}
			out, stderr, _ := client.Try("python3", "-c", asks, outside6, "SOCK_STREAM")
			if out != "113\n" { // EHOSTUNREACH
				t.Errorf("IPv6: %s%s", out, stderr)
			}
			stop(t, cl)
			restored(t, client, before)

			start().Kill()
			gone(t, client)
			out, stderr, code = client.Try(append(wrap, string(bin), "cleanup")...)
			if code != 0 {
				t.Errorf("cleanup: %d\n%s%s", code, out, stderr)
			}
			restored(t, client, before)
		})
	}
}
