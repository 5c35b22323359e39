package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Root is given directories that are not the program's, or in which another user can place files:
// it refuses them, and a file of root behind a link is unchanged.
func TestForeignState(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	target := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(target, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		plant func(dir string) error
		code  int
		why   string
	}{
		"another user's": {func(dir string) error { return os.Chown(dir, 12345, 12345) }, 13,
			"belongs to another user (uid 12345)"},
		"all may write": {func(dir string) error { return os.Chmod(dir, 0o777) }, 13,
			"may be written to by other users (mode 0777)"},
		"not a state": {func(
			dir string) error {
			return os.WriteFile(filepath.Join(dir, "passwd"), nil, 0o600)
		}, 13,
			"it is not a state directory: it has passwd"},
		"keys of another program": {func(dir string) error {
			return firstError(os.WriteFile(filepath.Join(dir, "key.pem"), nil, 0o600),
				os.WriteFile(filepath.Join(dir, "cert.pem"), nil, 0o600))
		}, 13, "it is not a state directory: it has "},
		"a state beside a configuration": {func(dir string) error {
			return firstError(os.WriteFile(filepath.Join(dir, "session-tun0.json"), nil, 0o600),
				os.WriteFile(filepath.Join(dir, "connect.yaml"), nil, 0o600))
		}, 13, "it is not a state directory: it has connect.yaml"},
		"a link in the worker's own": {func(dir string) error {
			return firstError(os.Symlink(target, filepath.Join(dir, "session-tun0.json")),
				os.Chown(dir, nobody, nobody))
		}, 13, "too many levels of symbolic links"},
		"a link in root's": {func(
			dir string) error {
			return os.Symlink(target, filepath.Join(dir, "session-tun0.json"))
		}, 13, "too many levels of symbolic links"},
		"a second name": {func(dir string) error {
			return os.Link(target, filepath.Join(dir, "session-tun0.json"))
		}, 13, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := firstError(os.Mkdir(dir, 0o700), test.plant(dir)); err != nil {
				t.Fatal(err)
			}
			cmd := bin.command(client, "connect", directURL, "--token", token, "--state", dir)
			_, stderr, code := client.TryCommand(cmd)
			if lines := strings.Split(strings.TrimSpace(stderr), "\n"); code != test.code ||
				!strings.Contains(lines[len(lines)-1], test.why) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, test.code, test.why, stderr)
			}
			for _, file := range []string{".", "key.pem", "connect.yaml"} {
				info, err := os.Stat(filepath.Join(dir, file))
				if strings.Contains(test.why, "not a state") && err == nil &&
					info.Sys().(*syscall.Stat_t).Uid != 0 {
					t.Errorf("%s was given away: %v", file, info)
				}
			}
			info, err := os.Stat(target)
			text, _ := os.ReadFile(target)
			if err != nil || string(text) != "precious" || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("the file of root is %q, %v, %v", text, info, err)
			}
		})
	}
}

// Another user can delete files in root's /run/tunnel: root refuses it.
func TestForeignJournalDir(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	const plant = `mount -t tmpfs none /run && install -d -m 700 -o 12345 /run/tunnel && exec "$@"`
	for _, args := range [][]string{{"cleanup"}, {"serve", "--plain", "--token", token, "--state",
		t.TempDir()}} {
		wrap := []string{"unshare", "-m", "sh", "-c", plant, "sh", string(plainBuild(t))}
		cmd := clean(server.Command(append(wrap, args...)...))
		_, stderr, code := server.TryCommand(cmd)
		const says = "tunnel: state: journal directory /run/tunnel: not owned by this user alone (uid " +
			"12345, mode 0700): chown root "
		if code != 13 || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d\n%s", args[0], code, stderr)
		}
	}
}

// A server takes over a state that an older version left to root, and its tokens work.
func TestStateIsHandedOver(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	dir := filepath.Join(t.TempDir(), "state")
	old := bin.start(t, server, "serve", "--no-sandbox", "--state", dir)
	line := old.WaitFor("tunnel connect ", soon)
	if !strings.Contains(old.Stderr(), "no sandbox") || old.Worker() != old.Pid() {
		t.Errorf("--no-sandbox logs no warning, or has a worker: %s", old.Stderr())
	}
	stop(t, old)
	srv := bin.start(t, server, "serve", "--state", dir)
	if now := srv.WaitFor("tunnel connect ", soon); !strings.Contains(line,
		strings.Fields(now)[4]) {
		t.Errorf("another pin: %s\nthen %s", line, now)
	}
	for _, name := range []string{".", "tunnel.db", "key.pem", "cert.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	tokens := func(args ...string) string {
		t.Helper()
		stdout, stderr, code := client.TryCommand(bin.command(client,
			append(append([]string{"token"}, args...), "--state", dir)...))
		if code != 0 {
			t.Fatalf("token %q: exit code %d\n%s", args, code, stderr)
		}
		return stdout
	}
	tokens("create", "while-it-runs")
	stop(t, srv)
	tokens("create", "while-it-does-not")
	info, err := os.Stat(filepath.Join(dir, "tunnel.db"))
	if list := tokens("list"); !strings.Contains(list, "first") || !strings.Contains(list,
		"while-it-runs") || !strings.Contains(list, "while-it-does-not") ||
		err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("%s\n%v, %v", list, info, err)
	}
	// And back to root.
	bin.start(t, server, "serve", "--no-sandbox", "--state", dir).WaitFor("listening on ", soon)
	if info, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil ||
		info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("key.pem: %v, %v", info, err)
	}
}

// The user tunnel is created, as README recommends, after a server has run as nobody.
func TestServiceUserCreatedLater(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := plainBuild(t)
	dir := filepath.Join(t.TempDir(), "state")
	srv := bin.start(t, server, "serve", "--state", dir)
	line := srv.WaitFor("tunnel connect ", soon)
	stop(t, srv)
	users, err := os.ReadFile("/etc/passwd")
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := firstError(err, os.WriteFile(passwd,
		append(users, "\ntunnel:x:4242:4343::/:/usr/sbin/nologin\n"...), 0o644)); err != nil {
		t.Fatal(err)
	}
	again := func(args ...string) *exec.Cmd {
		wrap := []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/passwd && exec "$@"`,
			passwd, string(bin), "serve", "--state", dir}
		return clean(server.Command(append(wrap, args...)...))
	}
	_, stderr, code := server.TryCommand(again("--user", "4244"))
	if code != 13 || !strings.Contains(stderr, "`chown -R 4244:4244 "+dir+"` if it is") {
		t.Errorf("another user: exit code %d\n%s", code, stderr)
	}
	srv = watch(t, server.StartCommand(again()))
	if now := srv.WaitFor("tunnel connect ", soon); !strings.Contains(line,
		strings.Fields(now)[4]) {
		t.Errorf("another pin: %s\nthen %s", line, now)
	}
	for _, name := range []string{".", "tunnel.db", "key.pem", "cert.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 4242 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
