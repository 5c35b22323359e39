package e2e

import (
	"strings"
	"testing"
)

// TestConfirm does not confirm a run, which then undoes everything and ends with a code of its own;
// a run that is confirmed goes on.
func TestConfirm(t *testing.T) {
	t.Parallel()
	server, client, _ := roaming(t)
	before := machineState(t, client)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	flags := []string{"--full-tunnel", "--kill-switch", "--confirm"}

	cl := bin.connect(t, client, routedURL, append(flags, "5s")...)
	cl.WaitFor("everything is undone in 5s, unless this is run: tunnel confirm --dev tun0", soon)
	if code := cl.Wait(soon); code != 16 || !strings.Contains(cl.Stderr(),
		"tunnel: confirm: not confirmed within 5s: everything is undone") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	restored(t, client, before)

	cl = bin.connect(t, client, routedURL, append(flags, "10s")...)
	if out := client.Run(string(bin), "confirm"); out != "confirmed: tun0\n" {
		t.Errorf("printed %q", out)
	}
	client.Run("sleep", "12")
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	restored(t, client, before)
	if _, stderr, code := client.Try(string(bin), "confirm"); code != 16 ||
		!strings.Contains(stderr, "no client waits to be confirmed") {
		t.Errorf("exit code %d, %s", code, stderr)
	}

	// A run that is not up has most of its changes before it.
	cl = bin.startConnect(t, client, "ws://203.0.113.1:9", "--keep-trying", "--kill-switch",
		"--confirm", "1h")
	cl.WaitFor(sealedLine, soon)
	if _, stderr, code := client.Try(string(bin), "confirm"); code != 16 ||
		!strings.Contains(stderr, "too early: the client is not up") {
		t.Errorf("before it is up: exit code %d, %s", code, stderr)
	}
	stop(t, cl)
	restored(t, client, before)

	// A run that fails before it is confirmed leaves not even its kill switch.
	cl = bin.start(t, client, "connect", "--token", "another-token-0123456789", "--state",
		t.TempDir(), "--kill-switch", "--confirm", "1h", routedURL)
	if code := cl.Wait(soon); code != 8 {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	restored(t, client, before)
}
