package e2e

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/e2e/lab"
	"tunnel/transport"
)

// nobody is the uid and gid of the unprivileged user: Debian's nobody and nogroup.
const nobody = 65534

// unprivileged wraps a command so that nobody runs it with the capabilities of setpriv's arguments,
// and with /dev/net/tun open to all, as udev makes it.
func unprivileged(setpriv ...string) []string {
	const device = `mount -t tmpfs -o mode=755 none /dev/net && ` +
		`mknod -m 666 /dev/net/tun c 10 200 && exec "$@"`
	wrap := []string{"unshare", "-m", "sh", "-c", device, "sh", "setpriv", "--reuid=65534",
		"--regid=65534", "--clear-groups"}
	return append(wrap, setpriv...)
}

// ownedByNobody makes a directory of nobody. It is not in t.TempDir, whose parent only root may
// enter.
func ownedByNobody(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tunnel-e2e-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startUnprivileged runs the program as nobody with all its files in dir.
func startUnprivileged(t *testing.T, h *lab.Host, wrap []string, bin, dir string,
	args ...string) *lab.Proc {
	t.Helper()
	argv := append(append([]string{}, wrap...), bin)
	argv = append(argv, args...)
	cmd := clean(h.Command(append(argv, "--token", token, "--state", filepath.Join(dir, "state"))...))
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir)
	return watch(t, h.StartCommand(cmd))
}

// Both sides run as nobody with an ambient CAP_NET_ADMIN.
func TestAmbientCapability(t *testing.T) {
	t.Parallel()
	wrap := unprivileged("--inh-caps=+net_admin", "--ambient-caps=+net_admin",
		"--bounding-set=-all,+net_admin")
	runUnprivileged(t, wrap, string(plainBuild(t)))
}

// The program has the capability, but only root may open /dev/net/tun.
func TestDeviceNodeClosed(t *testing.T) {
	t.Parallel()
	wrap := unprivileged("--inh-caps=+net_admin", "--ambient-caps=+net_admin",
		"--bounding-set=-all,+net_admin")
	for i := range wrap {
		wrap[i] = strings.Replace(wrap[i], "mknod -m 666", "mknod -m 600", 1)
	}
	_, client, _ := routed(t)
	cl := startUnprivileged(t, client, wrap, string(plainBuild(t)), ownedByNobody(t),
		"connect", routedURL)
	const says = "tunnel: device: open /dev/net/tun: permission denied (mode 0600, uid 0, gid 0): " +
		"`sudo chmod 666 /dev/net/tun`"
	if code := cl.Wait(soon); code != 10 || !strings.Contains(cl.Stderr(), says) {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
}

// Both sides run as nobody with CAP_NET_ADMIN on the file, which only nobody's group may run.
func TestFileCapability(t *testing.T) {
	t.Parallel()
	bin := withFileCapability(t, 0o750)
	h := lab.New(t).Host("caps")
	// Through a shell: setpriv keeps root's capabilities until it executes a program.
	_, stderr, code := h.Try("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "sh", "-c",
		`"$0" version`, bin)
	if code == 0 || !strings.Contains(stderr, "ermission denied") {
		t.Errorf("another user runs it: exit code %d\n%s", code, stderr)
	}
	runUnprivileged(t, unprivileged(), bin)
}

// withFileCapability returns a copy of the program with CAP_NET_ADMIN on the file, in nobody's
// group.
func withFileCapability(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tunnel-e2e-caps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "tunnel")
	copyProgram(t, string(plainBuild(t)), bin)
	if err := errors.Join(os.Chown(bin, 0, nobody), os.Chmod(bin, mode)); err != nil {
		t.Fatal(err)
	}
	lab.New(t).Host("setcap").Run("setcap", "cap_net_admin+ep", bin)
	return bin
}

// The program's file has CAP_NET_ADMIN and all users may run it, against the documentation: the
// program still limits what a user can do to the machine.
func TestFileCapabilityForAll(t *testing.T) {
	t.Parallel()
	bin := withFileCapability(t, 0o755)
	hub, client, _ := routed(t)
	client.Run("ip", "tuntap", "add", "dev", "vpn0", "mode", "tun")
	client.Run("ip", "link", "set", "vpn0", "up")
	client.Run("ip", "addr", "add", "10.8.0.1", "peer", "10.8.0.2", "dev", "vpn0")
	// A route of root's VPN, and one to a host by another gateway: without it that host's packets
	// would take another path.
	client.Run("ip", "route", "add", "10.8.0.0/24", "via", "10.8.0.2", "dev", "vpn0")
	client.Run("ip", "route", "add", "198.51.100.7/32", "via", "10.77.0.9", "dev", "eth0")
	before := tables(t, client)
	dir := ownedByNobody(t)
	run := func(args ...string) (string, int) {
		t.Helper()
		cmd := clean(client.Command(append(append(unprivileged(), bin), args...)...))
		cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir)
		stdout, stderr, code := client.TryCommand(cmd)
		return stdout + stderr, code
	}
	// A forged journal of a killed run of this user, with other facts.
	cl := startUnprivileged(t, client, unprivileged(), bin, dir, "connect", "ws://203.0.113.1:9",
		"--keep-trying")
	cl.WaitFor("not connected", soon)
	journals, err := filepath.Glob(filepath.Join(dir, "tunnel", "*.json"))
	if err != nil || len(journals) != 1 {
		t.Fatalf("%q, %v", journals, err)
	}
	stop(t, cl)
	facts := map[string]string{
		"eth0": `{"kind":"route","dev":"eth0","prefix":"0.0.0.0/0","via":"10.77.0.1"}`,
		"tun0": `{"kind":"bypass","dev":"eth0","prefix":"0.0.0.0/0","via":"10.77.0.1"}`,
		"vpn0": `{"kind":"device","dev":"vpn0"}
{"kind":"address","dev":"vpn0","local":"10.8.0.1","peer":"10.8.0.2"}
{"kind":"route","dev":"vpn0","prefix":"10.8.0.0/24","via":"10.8.0.2"}`,
		"tun8": `{"kind":"bypass","dev":"eth0","prefix":"198.51.100.7/32","via":"10.77.0.9"}`,
		"tun9": `{"kind":"route","dev":"eth0","prefix":"10.77.0.0/24","via":"10.77.0.1"}`,
	}
	for dev, fact := range facts {
		path := strings.TrimSuffix(journals[0], "tun0.json") + dev + ".json"
		if err := errors.Join(os.WriteFile(path, []byte(fact+"\n"), 0o600),
			os.Chown(path, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
	}
	text, code := run("cleanup")
	if code != 0 || strings.Contains(text, "removed ") {
		t.Errorf("cleanup: exit code %d\n%s", code, text)
	}
	untouched(t, client, before)
	text, code = run("serve", "--plain", "--insecure-no-auth", "--network", "8.8.8.0/24", "--state",
		filepath.Join(dir, "state"))
	if code != 9 || !strings.Contains(text, "not a private network") {
		t.Errorf("a hub for public addresses: exit code %d\n%s", code, text)
	}
	untouched(t, client, before)
	// No route to the machine's DNS server either, whatever the flags say.
	client.Hosts()
	resolves(t, client, "10.255.255.53")
	text, code = run("serve", "--plain", "--insecure-no-auth", "--network", "10.255.255.0/24",
		"--state", filepath.Join(dir, "state"))
	if code != 9 || !strings.Contains(text,
		"10.255.255.0/24 overlaps this machine's DNS server 10.255.255.53") {
		t.Errorf("a hub for the DNS server: exit code %d\n%s", code, text)
	}
	startBadHub(t, hub, nil, func(int) transport.Connected {
		return grants("10.255.255.0/24", "10.255.255.3", "10.255.255.4")
	})
	text, code = run("connect", routedURL, "--token", token, "--network", "10.255.255.0/24", "--state",
		filepath.Join(dir, "state"))
	if code != 9 || !strings.Contains(text,
		"10.255.255.0/24 overlaps this machine's DNS server 10.255.255.53") {
		t.Errorf("a client for the DNS server: exit code %d\n%s", code, text)
	}
	untouched(t, client, before)
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// runUnprivileged runs both sides as nobody: they work as root's do, repair what a kill leaves, and
// end as cleanly.
func runUnprivileged(t *testing.T, wrap []string, bin string) {
	t.Helper()
	server, client, _ := routed(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	serverDir, clientDir := ownedByNobody(t), ownedByNobody(t)
	srv := startUnprivileged(t, server, wrap, bin, serverDir, "serve", "--plain",
		"--ping-interval", "1s")
	srv.WaitFor("listening on ", soon)
	cl := startUnprivileged(t, client, wrap, bin, clientDir, "connect", routedURL)
	cl.WaitFor("up: ", soon)
	if _, err := os.Stat(filepath.Join(clientDir, "tunnel")); err != nil {
		t.Errorf("no journal in XDG_RUNTIME_DIR: %v", err)
	}
	wantCommands(t, cl,
		"ip -4 r a 203.0.113.1/32 via 10.77.0.1 dev eth0",
		"ip link set dev tun0 up mtu 1400 qlen 100",
		"ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0")
	reaches(t, client, "10.1.1.1")
	reaches(t, server, "10.1.1.3")

	cl.Kill()
	cl = startUnprivileged(t, client, wrap, bin, clientDir, "connect", routedURL)
	cl.WaitFor("up: ", soon)
	if n := countRoutes(routes(client), "203.0.113.1 via 10.77.0.1 dev eth0"); n != 1 {
		t.Errorf("%d routes to the server, want one: %q", n, routes(client))
	}
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	untouched(t, client, clientBefore)
	stop(t, srv)
	untouched(t, server, serverBefore)
	for _, dir := range []string{serverDir, clientDir} {
		if left, err := filepath.Glob(filepath.Join(dir, "tunnel", "*.json")); err != nil ||
			len(left) > 0 {
			t.Errorf("journals are left: %q (%v)", left, err)
		}
	}
}
