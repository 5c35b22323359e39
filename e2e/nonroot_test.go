package e2e

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"tunnel/e2e/lab"
)

// nobody is the user without privileges, Debian's nobody and nogroup.
const nobody = 65534

// unprivileged wraps a command so that nobody runs it, with /dev/net/tun open to
// all as udev leaves it on a real machine, and only a capability to help.
func unprivileged(setpriv ...string) []string {
	const device = `mount -t tmpfs -o mode=755 none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"`
	wrap := []string{"unshare", "-m", "sh", "-c", device, "sh", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}
	return append(wrap, setpriv...)
}

// ownedByNobody makes a directory for nobody, outside of t.TempDir, whose parent only root may enter.
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
func startUnprivileged(t *testing.T, h *lab.Host, wrap []string, bin, dir string, args ...string) *lab.Proc {
	t.Helper()
	argv := append(append([]string{}, wrap...), bin)
	argv = append(argv, args...)
	cmd := clean(h.Command(append(argv, "--token", token, "--state", filepath.Join(dir, "state"))...))
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+dir)
	return watch(t, h.StartCommand(cmd))
}

// TestAmbientCapability runs both sides as nobody with CAP_NET_ADMIN given from outside.
func TestAmbientCapability(t *testing.T) {
	t.Parallel()
	wrap := unprivileged("--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--bounding-set=-all,+net_admin")
	runUnprivileged(t, wrap, string(plainBuild(t)))
}

// TestFileCapability runs both sides as nobody with CAP_NET_ADMIN on the file.
func TestFileCapability(t *testing.T) {
	t.Parallel()
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
	h := lab.New(t).Host("caps")
	h.Run("setcap", "cap_net_admin+ep", bin)
	runUnprivileged(t, unprivileged(), bin)
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

// runUnprivileged has both sides run as nobody: they work like root's, heal a
// kill, and end as cleanly.
func runUnprivileged(t *testing.T, wrap []string, bin string) {
	t.Helper()
	server, client, _ := routed(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	serverDir, clientDir := ownedByNobody(t), ownedByNobody(t)
	srv := startUnprivileged(t, server, wrap, bin, serverDir, "serve", "--plain", "--ping-interval", "1s")
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
		if left, err := filepath.Glob(filepath.Join(dir, "tunnel", "*.json")); err != nil || len(left) > 0 {
			t.Errorf("journals are left: %q (%v)", left, err)
		}
	}
}
