package e2e

import (
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// sealedLine is on stdout when the kill switch is on.
const sealedLine = "kill switch: nothing leaves"

// gone waits until a killed client's worker has ended, and the device with it.
func gone(t *testing.T, h *lab.Host) {
	t.Helper()
	eventually(t, "the device is gone", func() bool {
		return !strings.Contains(h.Run("ip", "-o", "link"), "tun0")
	})
}

// TestKillSwitch sends all the time: between the line that says that the kill switch is on and its
// removal nothing leaves but the tunnel's connection: while the hub is away, killed by SIGKILL, and
// when the next run takes over.
func TestKillSwitch(t *testing.T) {
	t.Parallel()
	for _, full := range []bool{true, false} {
		name, flags := "alone", []string{"--kill-switch", "--keep-trying"}
		if full {
			name, flags = "full tunnel", append(flags, "--full-tunnel")
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client, _ := roaming(t)
			before := machineState(t, client)
			bin := raceBuild(t)
			hub := []string{"--plain", "--ping-interval", "1s", "--state", t.TempDir()}
			chat(t, client)
			cl := bin.startConnect(t, client, routedURL, flags...) // the hub is not there yet
			cl.WaitFor(sealedLine, soon)
			seen := sniff(t, client)
			srv := bin.serve(t, server, hub...)
			cl.WaitFor("up: ", soon)
			reaches(t, client, "10.1.1.1")
			silent(t, seen, "connected,")
			srv.Kill()
			cl.WaitFor("down: ", soon)
			bin.serve(t, server, hub...)
			cl.WaitForNth("up: ", 2, soon)
			client.Run("ip", "route", "replace", "default", "via", "10.77.0.254")
			cl.WaitForNth("up: ", 3, soon)
			silent(t, seen, "through a restart and a change of the gateway")
			client.Run("ip", "route", "replace", "default", "via", "10.77.0.1")
			cl.WaitForNth("up: ", 4, soon)

			cl.Kill()
			gone(t, client)
			client.Run("sleep", "0.3") // while chatter sends
			silent(t, seen, "killed,")
			cl = bin.connect(t, client, routedURL, flags...)
			reaches(t, client, "10.1.1.1")
			silent(t, seen, "taken over,")
			stop(t, cl)
			loud(t, seen, outside4, outside6)
			restored(t, client, before)

			cl = bin.connect(t, client, routedURL, flags...)
			cl.Kill()
			gone(t, client)
			client.Run(string(bin), "cleanup")
			restored(t, client, before)
		})
	}
}

// TestKillSwitchLAN reaches the LAN, but not by DNS in a full tunnel, and with --no-lan not at all.
func TestKillSwitchLAN(t *testing.T) {
	t.Parallel()
	server, client, router := roaming(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, port := range []string{"53", "80"} {
		router.Start("sh", "-c", "while true; do nc -l 10.77.0.1 "+port+" </dev/null; done")
		listening(t, router, map[string]int{"53": 53, "80": 80}[port])
	}
	for _, test := range []struct {
		flags    []string
		lan, dns bool
	}{
		{nil, true, true},
		{[]string{"--full-tunnel"}, true, false},
		{[]string{"--no-lan"}, false, false},
		{[]string{"--no-lan", "--full-tunnel"}, false, false},
	} {
		cl := bin.connect(t, client, routedURL, append([]string{"--kill-switch"}, test.flags...)...)
		for port, want := range map[string]bool{"80": test.lan, "53": test.dns} {
			_, _, code := client.Try("nc", "-z", "-w", "3", "10.77.0.1", port)
			if (code == 0) != want {
				t.Errorf("%v, port %s: exit code %d", test.flags, port, code)
			}
		}
		stop(t, cl)
	}
}

// TestKillSwitchInbound is reached from outside with --allow-inbound only.
func TestKillSwitchInbound(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	client.Start("python3", "-c", ticker).WaitFor("ready", soon)
	for _, full := range []bool{false, true} {
		for _, inbound := range []bool{false, true} {
			flags := []string{"--kill-switch"}
			if full {
				flags = append(flags, "--full-tunnel")
			}
			if inbound {
				flags = append(flags, "--allow-inbound")
			}
			cl := bin.connect(t, client, routedURL, flags...)
			_, _, code := server.Try("nc", "-z", "-w", "2", "-s", outside4, "10.77.0.2", "2222")
			if (code == 0) != inbound {
				t.Errorf("%v: exit code %d", flags, code)
			}
			stop(t, cl)
		}
	}
}

// TestKillSwitchRefused has no nft, or a table of that name that is not the program's: it does not
// start, and changes nothing.
func TestKillSwitchRefused(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	client.Run("nft", "add", "table", "inet", "tunnel_tun0")
	before := machineState(t, client)
	cl := bin.startConnect(t, client, routedURL, "--kill-switch")
	if code := cl.Wait(soon); code != 15 || !strings.Contains(cl.Stderr(),
		"tunnel: firewall: ") || strings.Contains(cl.Stdout(), "up: ") {
		t.Errorf("exit code %d\n%s%s", code, cl.Stdout(), cl.Stderr())
	}
	restored(t, client, before)
	client.Run("nft", "delete", "table", "inet", "tunnel_tun0")
	before = machineState(t, client)
	dir := t.TempDir()
	client.Run("sh", "-c", `ln -s "$(command -v ip)" "$1/ip"`, "sh", dir)
	cl = bin.startWrapped(t, client, []string{"env", "PATH=" + dir}, "connect", "--kill-switch",
		routedURL)
	if code := cl.Wait(soon); code != 15 || !strings.Contains(cl.Stderr(),
		"nft is not in PATH: install nftables") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	restored(t, client, before)
}

// TestKillSwitchStays ends a run that fails: the kill switch stays, which the log says, until
// tunnel cleanup.
func TestKillSwitchStays(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	before := machineState(t, client)
	cl := bin.start(t, client, "connect", "--token", "another-token-0123456789", "--state",
		t.TempDir(), "--kill-switch", routedURL)
	if code := cl.Wait(soon); code != 8 || !strings.Contains(cl.Stderr(), "the kill switch stays") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	if !strings.Contains(client.Run("nft", "list", "ruleset"), "policy drop") {
		t.Error("the kill switch is gone")
	}
	client.Run(string(bin), "cleanup")
	restored(t, client, before)
}

// TestKillSwitchFlushed has another program remove all rules: the kill switch is set again.
func TestKillSwitchFlushed(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL, "--kill-switch")
	client.Run("nft", "flush", "ruleset")
	cl.WaitFor("restored what something else on this machine has changed", soon)
	if !strings.Contains(client.Run("nft", "list", "ruleset"), "policy drop") {
		t.Error("there is no kill switch")
	}
	stop(t, cl)
	restored(t, client, before)
}
