package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// ipAs returns a directory with an ip that is a shell script.
func ipAs(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// busyboxIP returns a directory with BusyBox's ip.
func busyboxIP(t *testing.T) string {
	t.Helper()
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return ipAs(t, "exec "+busybox+` ip "$@"`+"\n")
}

// Both sides work with an ip whose JSON cannot be parsed, as of iproute2 before 5.1, and with
// BusyBox's, which prints none; nothing is left.
func TestOldIP(t *testing.T) {
	t.Parallel()
	const old = `case "$*" in
		*-j*) echo '{"unicast","dst":"default"}' ;;
		*) exec /sbin/ip "$@" ;;
	esac
`
	for name, dir := range map[string]string{"iproute2 4.20": ipAs(t, old),
		"BusyBox": busyboxIP(t)} {
		t.Run(name, func(t *testing.T) {
			server, client, _ := routed(t)
			before := tables(t, client)
			bin := plainBuild(t)
			wrap := []string{"env", "PATH=" + dir}
			srv := bin.startWrapped(t, server, wrap, "serve", "--plain")
			srv.WaitFor("listening on ", soon)
			cl := bin.startWrapped(t, client, wrap, "connect", routedURL)
			cl.WaitFor("up: ", soon)
			reaches(t, client, "10.1.1.1")
			stop(t, cl)
			untouched(t, client, before)
			stop(t, srv)
		})
	}
}

// An ip lacks a command that is needed: the line names the command, the version that has it and the
// package to install. With a suitable ip the next run removes what is left.
func TestUnsuitableIP(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	serve := func() []string {
		return []string{"serve", "--plain", "--token", token, "--state", t.TempDir()}
	}
	small := ipAs(t, `case "$*" in
*qlen*) echo 'ip: either "dev" is duplicate, or "qlen" is garbage' >&2; exit 1 ;;
-V) echo "ip utility, iproute2-ss190107"; exit ;;
esac
exec /sbin/ip "$@"
`)
	failure{
		name: "an old iproute2", code: 11, step: "route", args: serve(), wrap: []string{"env",
			"PATH=" + small},
		says: "the program ip is iproute2-ss190107, which does not know this command: install " +
			"the package iproute2 (Fedora: iproute), 5.10 or later",
	}.check(t, server, bin)

	// A run that was killed while it made its device leaves this, and BusyBox cannot remove it.
	client.Run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun")
	client.Run("ip", "link", "set", "tun0", "up")
	journal := leaveJournal(t, client, "tun0", `{"kind":"device","dev":"tun0"}`)
	cmd := client.Command(append([]string{"env", "PATH=" + busyboxIP(t), string(bin)},
		serve()...)...)
	_, stderr, code := client.TryCommand(clean(cmd))
	const says = "ip tuntap del dev tun0 mode tun: the program ip is BusyBox v1."
	if code != 11 || !strings.Contains(stderr, "tunnel: route: ") || !strings.Contains(stderr,
		says) {
		t.Errorf("BusyBox: exit code %d\n%s", code, stderr)
	}
	if _, err := os.Stat(journal); err != nil {
		t.Error(err)
	}
	if out := client.Run(string(bin), "cleanup"); !strings.Contains(out, "removed device tun0") {
		t.Errorf("cleanup says %s", out)
	}
}

// As on Alpine, ip is BusyBox's and there is no nft: a client that sends all traffic through the
// tunnel says which command is lacking, and the package that has it, and leaves nothing.
func TestBareAlpine(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, c := range []struct {
		name, says string
		code       int
		step       string
		nft        bool
	}{
		{"without nft", "nft is not in PATH: install nftables", 15, "firewall", false},
		{"with nft", "the program ip is BusyBox v1.", 11, "route", true},
	} {
		dir := busyboxIP(t)
		if c.nft {
			nft, err := exec.LookPath("nft")
			if err == nil {
				err = os.Symlink(nft, filepath.Join(dir, "nft"))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		cl := bin.startWrapped(t, client, []string{"env", "PATH=" + dir}, "connect", routedURL,
			"--full-tunnel")
		if code := cl.Wait(soon); code != c.code || !strings.Contains(cl.Stderr(),
			"tunnel: "+c.step+": ") || !strings.Contains(cl.Stderr(), c.says) {
			t.Errorf("%s: exit code %d\n%s", c.name, code, cl.Stderr())
		}
		untouched(t, client, before)
	}
}

// leaveJournal writes a journal as a killed run leaves it, and returns its path.
func leaveJournal(t *testing.T, h *lab.Host, dev, line string) string {
	t.Helper()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	id := strings.ReplaceAll(string(boot), "-", "")[:12]
	path := fmt.Sprintf("/run/tunnel/%s-c%d-%s.json", id, h.Cookie(), dev)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
