package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// restless is a program that sends without pause what chatter does not: TCP, ICMP, from sockets
// that are bound to the interface, and to the hub's own address past the tunnel.
const restless = `
import socket, time
def udp(bound, to):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        if bound: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        s.sendto(b"x", to)
def tcp(bound, to):
    with socket.socket() as s:
        s.setblocking(False)
        if bound: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        s.connect_ex(to)
def ping(to):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.sendto(bytes((8, 0, 0xf7, 0xff, 0, 0, 0, 0)), (to, 0))
print("restless", flush=True)
while True:
    for send in (lambda: udp(True, ("203.0.113.9", 19)), lambda: udp(False, ("203.0.113.1", 19)),
                 lambda: tcp(False, ("203.0.113.9", 29)), lambda: tcp(True, ("203.0.113.9", 39)),
                 lambda: ping("203.0.113.9")):
        try:
            send()
        except OSError:
            pass
    time.sleep(0.003)
`

// sniffTimes is sniff without what DHCP causes; each line begins with the time, in seconds since
// 1970.
func sniffTimes(t *testing.T, h *lab.Host) *lab.Proc {
	t.Helper()
	p := h.Start("tcpdump", "-i", "eth0", "-Q", "out", "-n", "-l", "-tt", "--immediate-mode",
		"not arp and not (host "+routedServer+" and tcp port 8443) and "+
			"not (udp src port 68 and udp dst port 67) and "+
			// The kernel tells the server, which is on the LAN, where udhcpc has no socket open.
			"not (icmp[icmptype] = icmp-unreach and dst host 10.77.0.1) and "+
			"not (icmp6 and (ip6[40] = 143 or (ip6[40] >= 130 and ip6[40] <= 136))) and "+
			"not ip6 dst ff02::16")
	p.WaitFor("listening on", soon)
	return p
}

// seenAfter returns the lines of sniffTimes that are later than a time.
func seenAfter(t *testing.T, p *lab.Proc, since time.Time) (late string) {
	t.Helper()
	for line := range strings.Lines(p.Stdout()) {
		first, _, _ := strings.Cut(line, " ")
		at, err := strconv.ParseFloat(first, 64)
		if err != nil {
			continue // the last line, which is not whole yet
		}
		if at > float64(since.UnixMicro())/1e6 {
			late += line
		}
	}
	return late
}

// TestKillSwitchFromTheLine sends all kinds of packets before, during and after a run, and looks
// from before its start on: nothing leaves later than the line that says that the kill switch is
// on.
func TestKillSwitchFromTheLine(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	kinds := []string{outside4 + ".9:", outside6 + ".9:", outside4 + ".19:", routedServer + ".19:",
		outside4 + ".29:", outside4 + ".39:", outside4 + ": ICMP"}
	loudly := func(seen *lab.Proc) {
		t.Helper()
		for _, kind := range kinds {
			eventually(t, "packets to "+kind+" leave", func() bool {
				return strings.Contains(seen.Stdout(), "> "+kind)
			})
		}
	}
	chat(t, client)
	client.Start("python3", "-c", restless).WaitFor("restless", soon)
	seen := sniffTimes(t, client)
	loudly(seen)
	cl := bin.startConnect(t, client, routedURL, "--kill-switch")
	cl.WaitFor(sealedLine, soon)
	sealed := time.Now()
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	cl.Kill()
	gone(t, client)
	cl = bin.connect(t, client, routedURL, "--kill-switch", "--full-tunnel")
	inside(t, client)
	reaches(t, client, "10.1.1.1")
	client.Run("sleep", "0.3")
	if late := seenAfter(t, seen, sealed); late != "" {
		t.Errorf("seen after the line:\n%.2000s", late)
	}
	stop(t, cl)
	loudly(sniffTimes(t, client))
	restored(t, client, before)
}

// TestKillSwitchNextRun has runs follow a killed one that would open its kill switch: they are
// refused, and it stays, until one that takes it over.
func TestKillSwitchNextRun(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL, "--kill-switch")
	cl.Kill()
	gone(t, client)
	sealed := client.Run("nft", "list", "ruleset")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"connect", "--token", token, "--state", t.TempDir(), routedURL},
			"give --kill-switch, or end it by `tunnel cleanup`"},
		{[]string{"serve", "--plain", "--state", t.TempDir()}, "give --kill-switch"},
		{[]string{"connect", "--token", token, "--state", t.TempDir(), "--kill-switch", "--confirm",
			"1h", routedURL}, "--confirm would end a kill switch that is already on"},
		{[]string{"connect", "--token", token, "--state", t.TempDir(), "--kill-switch", "--dev",
			"tun1", routedURL}, "the kill switch of tun0 is on, and two would block each other"},
	} {
		next := bin.start(t, client, test.args...)
		if code := next.Wait(soon); code != 15 || !strings.Contains(next.Stderr(), test.says) {
			t.Errorf("%v: exit code %d\n%s", test.args, code, next.Stderr())
		}
		if now := client.Run("nft", "list", "ruleset"); now != sealed {
			t.Errorf("%v: the kill switch was\n%s\nand is\n%s", test.args, sealed, now)
		}
	}
	stop(t, bin.connect(t, client, routedURL, "--kill-switch"))
	restored(t, client, before)
}

// TestConfirmKilled kills a run on trial: its kill switch ends in time even so. One that was
// confirmed stays.
func TestConfirmKilled(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	flags := []string{"--kill-switch", "--full-tunnel", "--confirm", "10s"}
	reachable := func() bool {
		_, _, code := server.Try("ping", "-c", "1", "-W", "1", "-I", outside4, "10.77.0.2")
		return code == 0
	}
	if !reachable() {
		t.Fatal("the client is not reached before the run")
	}
	began := time.Now()
	// A slow machine sees it later than the kernel may let it pass, which proves nothing.
	sealed := func(when string) {
		t.Helper()
		if reachable() && time.Since(began) < 10*time.Second {
			t.Errorf("%s, the client is reached from outside", when)
		}
	}
	cl := bin.connect(t, client, routedURL, flags...)
	sealed("on trial")
	status, err := os.ReadFile("/proc/" + strconv.Itoa(cl.Pid()) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, mask, _ := strings.Cut(string(status), "SigIgn:")
	mask, _, _ = strings.Cut(strings.TrimSpace(mask), "\n")
	ignored, err := strconv.ParseUint(mask, 16, 64)
	if err != nil || ignored&(1<<(syscall.SIGTSTP-1)) == 0 {
		t.Errorf("Ctrl-Z would stop the time: %s, %v", mask, err)
	}
	cl.Kill()
	gone(t, client)
	sealed("killed")
	eventually(t, "the client is reached again", reachable)
	stop(t, bin.connect(t, client, routedURL)) // removes what is left
	restored(t, client, before)

	cl = bin.connect(t, client, routedURL, flags...)
	client.Run(string(bin), "confirm")
	cl.Kill()
	gone(t, client)
	if rules := client.Run("nft", "list", "ruleset"); strings.Contains(rules, "meta time") ||
		!strings.Contains(rules, "policy drop") {
		t.Errorf("a confirmed kill switch is\n%s", rules)
	}
	client.Run(string(bin), "cleanup")
	restored(t, client, before)
}

// TestFullTunnelDHCP has a real DHCP client renew its lease, which then names another gateway, and
// the hub restart: nothing leaves but by the tunnel and for DHCP, with and without a kill switch.
func TestFullTunnelDHCP(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{{"--full-tunnel"}, {"--full-tunnel", "--kill-switch"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			t.Parallel()
			server, client, router := roaming(t)
			bin := plainBuild(t)
			dir := t.TempDir()
			write := func(name, text string) string {
				t.Helper()
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
					t.Fatal(err)
				}
				return path
			}
			// The second server has to know the lease of the first: it answers no renewal of others.
			leases := write("leases", "")
			offer := func(gateway string) *lab.Proc {
				t.Helper()
				p := router.Start("busybox", "udhcpd", "-f", write(gateway,
					"interface eth1\nstart 10.77.0.2\nend 10.77.0.2\nmax_leases 1\n"+
						"lease_file "+leases+"\noption subnet 255.255.255.0\n"+
						"option router "+gateway+"\noption lease 3600\n"))
				p.WaitFor("started", soon)
				return p
			}
			dhcpd := offer("10.77.0.1")
			lease := client.Start("busybox", "udhcpc", "-f", "-i", "eth0", "-s", write("script",
				"#!/bin/sh\ncase \"$1\" in bound|renew)\n"+
					"ip route replace default via \"$router\"\necho \"$1 $router\" ;;\nesac\n"))
			lease.WaitFor("bound 10.77.0.1", soon)
			before := machineState(t, client)

			hub := []string{"--plain", "--ping-interval", "1s", "--state", t.TempDir()}
			srv := bin.serve(t, server, hub...)
			chat(t, client)
			cl := bin.connect(t, client, routedURL, flags...)
			seen := sniffTimes(t, client)
			inside(t, client)
			dhcpd.Signal(syscall.SIGTERM)
			dhcpd.Wait(soon)
			offer("10.77.0.254")
			lease.Signal(syscall.SIGUSR1) // renew
			lease.WaitFor("renew 10.77.0.254", soon)
			cl.WaitForNth("up: ", 2, soon)
			reaches(t, client, "10.1.1.1")
			inside(t, client)
			if out := seen.Stdout(); out != "" {
				t.Errorf("through a DHCP renewal:\n%.2000s", out)
			}
			srv.Kill()
			cl.WaitForNth("down: ", 2, soon)
			inside(t, client)
			bin.serve(t, server, hub...)
			cl.WaitForNth("up: ", 3, soon)
			reaches(t, client, "10.1.1.1")
			inside(t, client)
			if out := seen.Stdout(); out != "" {
				t.Errorf("through a restart of the hub:\n%.2000s", out)
			}
			stop(t, cl)
			loud(t, seen, outside4, outside6)
			client.Run("ip", "route", "replace", "default", "via", "10.77.0.1")
			restored(t, client, before)
		})
	}
}

// TestFullTunnelRefused has one line each for a container without nft and one with a read-only
// /proc/sys, where a parameter has to be set: it does not start, and changes nothing.
func TestFullTunnelRefused(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	client.Sysctl("net.ipv4.conf.eth0.rp_filter", "1")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	before := machineState(t, client)
	dir := t.TempDir()
	client.Run("sh", "-c", `ln -s "$(command -v ip)" "$1/ip"`, "sh", dir)
	args := []string{"connect", "--token", token, "--state", t.TempDir(), "--full-tunnel", routedURL}
	for _, test := range []struct {
		wrap []string
		says string
	}{
		{[]string{"env", "PATH=" + dir}, "nft is not in PATH: install nftables"},
		{[]string{"unshare", "-m", "sh", "-c", `mount --bind /proc/sys /proc/sys && ` +
			`mount -o remount,bind,ro /proc/sys && exec "$@"`, "sh"}, "src_valid_mark"},
	} {
		cl := bin.startWrapped(t, client, test.wrap, args...)
		if code := cl.Wait(soon); code != 15 || !strings.Contains(cl.Stderr(), test.says) ||
			strings.Count(cl.Stderr(), "tunnel: ") != 1 {
			t.Errorf("exit code %d\n%s", code, cl.Stderr())
		}
		restored(t, client, before)
	}
}
