package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// processStatus returns the lines of /proc/PID/status of every thread, the same ones once.
func processStatus(t *testing.T, pid int, fields ...string) []string {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of %d: %v", pid, err)
	}
	var all []string
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(text)) {
			if name, _, _ := strings.Cut(line, ":"); slices.Contains(fields, name) {
				all = append(all, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestWorkerHasOneRight looks at what the kernel says of the processes that talk to the network.
func TestWorkerHasOneRight(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.startServe(t, server)
	pin := regexp.MustCompile(`sha256:\S+`).FindString(srv.WaitFor("tunnel connect ", soon))
	cl := bin.connect(t, client, strings.Replace(directURL, "ws://", "wss://", 1), "--pin", pin)
	reaches(t, client, "10.1.1.1")
	for what, proc := range map[string]*lab.Proc{"serve": srv, "connect": cl} {
		worker := proc.Worker()
		if worker == proc.Pid() {
			t.Fatalf("%s has no worker", what)
		}
		want := []string{
			"CapAmb: 0000000000000000", "CapBnd: 0000000000001000", "CapEff: 0000000000001000", "CapInh: 0000000000000000",
			"CapPrm: 0000000000001000", "Gid: 65534 65534 65534 65534", "Groups:", "NoNewPrivs: 1", "Seccomp: 2", "Uid: 65534 65534 65534 65534",
		}
		got := processStatus(t, worker, "CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm", "Gid", "Groups", "NoNewPrivs", "Seccomp", "Uid")
		if !slices.Equal(got, want) {
			t.Errorf("threads of the worker of %s:\n%q\nwant\n%q", what, got, want)
		}
		if sockets := networkSockets(t, proc.Pid()); len(sockets) > 0 {
			t.Errorf("the parent of %s has %q", what, sockets)
		}
	}
}

// networkSockets returns the sockets of a process that lead out of this machine, and TUN devices.
func networkSockets(t *testing.T, pid int) []string {
	t.Helper()
	var tables strings.Builder
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		tables.Write(text)
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %d: %v", pid, err)
	}
	var found []string
	for _, file := range files {
		to, _ := os.Readlink(file)
		inode := strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")
		if to == "/dev/net/tun" || inode != to && strings.Contains(tables.String(), " "+inode+" ") {
			found = append(found, to)
		}
	}
	return found
}

// TestWorkerKilled kills the worker: the parent undoes all, says so in a line, and ends with code 1.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	kill(t, cl.Worker(), syscall.SIGKILL)
	if code := cl.Wait(soon); code != 1 || !strings.Contains(cl.Stderr(), "tunnel: internal: the worker was ended by a signal: killed") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
	bin.connect(t, client, routedURL) // nothing is in its way
	reaches(t, client, "10.1.1.1")
	stop(t, srv)
}

// TestWorkerCrashes has the worker end as the Go runtime ends a program with a defect: with its dump, and exit code 2.
func TestWorkerCrashes(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	kill(t, cl.Worker(), syscall.SIGQUIT)
	code := cl.Wait(soon)
	const says = "\ntunnel: internal: the worker crashed (exit code 2): see its output above, and report it\n"
	if code != 1 || !strings.Contains(cl.Stderr(), says) || !strings.Contains(cl.Stderr(), "goroutine ") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
}

// TestParentKilled kills the parent: the worker is gone at once, and the next run takes everything over.
func TestParentKilled(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	dir := t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", dir)
	srv.WaitFor("listening on ", soon)
	bin.connect(t, client, directURL)
	for range 5 {
		worker := srv.Worker()
		kill(t, srv.Pid(), syscall.SIGKILL)
		srv = bin.start(t, server, "serve", "--plain", "--token", token, "--state", dir)
		srv.WaitFor("listening on ", soon)
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker)); err == nil && !strings.Contains(string(text), ") Z ") {
			t.Errorf("the worker lives: %s", text)
		}
	}
	eventually(t, "the client is back", func() bool { _, _, code := client.Try("ping", "-c1", "-W1", "10.1.1.1"); return code == 0 })
}

// TestWorkerStuck stops the worker from doing anything, as one that was broken into could: the parent ends all the same.
func TestWorkerStuck(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	kill(t, cl.Worker(), syscall.SIGSTOP)
	cl.Signal(syscall.SIGTERM)
	if code := cl.Wait(soon); code != 1 || !strings.Contains(cl.Stderr(), "did not stop within") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// TestForeignState gives root directories in which somebody else decides what a name means.
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
		"another user's": {func(dir string) error { return os.Chown(dir, 12345, 12345) }, 13, "belongs to another user (uid 12345)"},
		"all may write":  {func(dir string) error { return os.Chmod(dir, 0o777) }, 13, "may be written to by other users (mode 0777)"},
		"not a state":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "passwd"), nil, 0o600) }, 13, "it is no state directory, for it has passwd"},
		"a link in the worker's own": {func(dir string) error {
			return firstError(os.Symlink(target, filepath.Join(dir, "session-tun0.json")), os.Chown(dir, nobody, nobody))
		}, 13, "too many levels of symbolic links"},
		"a link in root's": {func(dir string) error { return os.Symlink(target, filepath.Join(dir, "session-tun0.json")) }, 13, "too many levels of symbolic links"},
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
			if lines := strings.Split(strings.TrimSpace(stderr), "\n"); code != test.code || !strings.Contains(lines[len(lines)-1], test.why) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, test.code, test.why, stderr)
			}
			info, err := os.Stat(target)
			text, _ := os.ReadFile(target)
			if err != nil || string(text) != "precious" || info.Sys().(*syscall.Stat_t).Uid != 0 {
				t.Errorf("the file of root is %q, %v, %v", text, info, err)
			}
		})
	}
}

// TestForeignJournalDir gives root a /run/tunnel in which somebody else can delete its journal.
func TestForeignJournalDir(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	const plant = `mount -t tmpfs none /run && install -d -m 700 -o 12345 /run/tunnel && exec "$@"`
	for _, args := range [][]string{{"cleanup"}, {"serve", "--plain", "--token", token, "--state", t.TempDir()}} {
		wrap := []string{"unshare", "-m", "sh", "-c", plant, "sh", string(plainBuild(t))}
		cmd := clean(server.Command(append(wrap, args...)...))
		_, stderr, code := server.TryCommand(cmd)
		const says = "tunnel: state: journal directory /run/tunnel: not owned by this user alone (uid 12345, mode 0700): chown root "
		if code != 13 || !strings.Contains(stderr, says) {
			t.Errorf("%s: exit code %d\n%s", args[0], code, stderr)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestStateIsHandedOver starts a server on what an older version has left to root, and asks for its tokens afterwards.
func TestStateIsHandedOver(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	dir := filepath.Join(t.TempDir(), "state")
	old := bin.start(t, server, "serve", "--no-sandbox", "--state", dir)
	line := old.WaitFor("tunnel connect ", soon)
	if !strings.Contains(old.Stderr(), "no sandbox") || old.Worker() != old.Pid() {
		t.Errorf("--no-sandbox has no word, or a worker: %s", old.Stderr())
	}
	stop(t, old)
	srv := bin.start(t, server, "serve", "--state", dir)
	if now := srv.WaitFor("tunnel connect ", soon); !strings.Contains(line, strings.Fields(now)[4]) {
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
		stdout, stderr, code := client.TryCommand(bin.command(client, append(append([]string{"token"}, args...), "--state", dir)...))
		if code != 0 {
			t.Fatalf("token %q: exit code %d\n%s", args, code, stderr)
		}
		return stdout
	}
	tokens("create", "while-it-runs")
	stop(t, srv)
	tokens("create", "while-it-does-not")
	info, err := os.Stat(filepath.Join(dir, "tunnel.db"))
	if list := tokens("list"); !strings.Contains(list, "first") || !strings.Contains(list, "while-it-runs") || !strings.Contains(list, "while-it-does-not") ||
		err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("%s\n%v, %v", list, info, err)
	}
	// And back.
	bin.start(t, server, "serve", "--no-sandbox", "--state", dir).WaitFor("listening on ", soon)
	if info, err := os.Stat(filepath.Join(dir, "key.pem")); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("key.pem: %v, %v", info, err)
	}
}

// TestUserIsMadeLater makes the user tunnel, as README recommends, beside a server that has run as nobody.
func TestUserIsMadeLater(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := plainBuild(t)
	dir := filepath.Join(t.TempDir(), "state")
	srv := bin.start(t, server, "serve", "--state", dir)
	line := srv.WaitFor("tunnel connect ", soon)
	stop(t, srv)
	users, err := os.ReadFile("/etc/passwd")
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := firstError(err, os.WriteFile(passwd, append(users, "\ntunnel:x:4242:4343::/:/usr/sbin/nologin\n"...), 0o644)); err != nil {
		t.Fatal(err)
	}
	again := func(args ...string) *exec.Cmd {
		wrap := []string{"unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/passwd && exec "$@"`, passwd, string(bin), "serve", "--state", dir}
		return clean(server.Command(append(wrap, args...)...))
	}
	_, stderr, code := server.TryCommand(again("--user", "4244"))
	if code != 13 || !strings.Contains(stderr, "`chown -R 4244:4244 "+dir+"` if it is") {
		t.Errorf("another user: exit code %d\n%s", code, stderr)
	}
	srv = watch(t, server.StartCommand(again()))
	if now := srv.WaitFor("tunnel connect ", soon); !strings.Contains(line, strings.Fields(now)[4]) {
		t.Errorf("another pin: %s\nthen %s", line, now)
	}
	for _, name := range []string{".", "tunnel.db", "key.pem", "cert.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != 4242 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestHookEnvironment is what a hook knows of the program's secrets.
func TestHookEnvironment(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, flags := range [][]string{nil, {"--no-sandbox"}} {
		cmd := bin.command(client, append([]string{"connect", directURL, "--state", t.TempDir(), "--on-up", "env; echo the end"}, flags...)...)
		cmd.Env = append(cmd.Env, "TUNNEL_TOKEN="+token, "TUNNEL_PROXY=none", "HOOK_OWN=kept")
		cl := watch(t, client.StartCommand(cmd))
		cl.WaitFor("the end", soon)
		text := cl.Stderr()
		if strings.Contains(text, token) || strings.Contains(text, "TUNNEL_PROXY") || !strings.Contains(text, "HOOK_OWN=kept") || !strings.Contains(text, "TUNNEL_ADDRESS=10.1.1.") {
			t.Errorf("the hook sees\n%s", text)
		}
		stop(t, cl)
	}
}

// TestTokenFileOfRoot has a token that only root may read.
func TestTokenFileOfRoot(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o400); err != nil {
		t.Fatal(err)
	}
	srv := bin.start(t, server, "serve", "--plain", "--token-file", file, "--state", t.TempDir())
	srv.WaitFor("listening on ", soon)
	cl := bin.start(t, client, "connect", directURL, "--token-file", file, "--state", t.TempDir())
	cl.WaitFor("up: ", soon)
}

// TestWorkerInherits starts the program with a file open neither the worker
// nor a hook has it, and the worker's session is its own.
func TestWorkerInherits(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrap := []string{"sh", "-c", `exec "$@" 7<"$0" 0<"$0" 1>>"$0"`, secret}
	cl := bin.startWrapped(t, client, wrap, "connect", directURL, "--on-up", "ls -l /proc/self/fd; echo the end")
	cl.WaitFor("the end", soon)
	if strings.Contains(cl.Stderr(), secret) {
		t.Errorf("the hook has the file:\n%s", cl.Stderr())
	}
	worker := cl.Worker()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", worker))
	if err != nil || len(files) == 0 || worker == cl.Pid() {
		t.Fatalf("files of %d: %v", worker, err)
	}
	for _, file := range files {
		if to, _ := os.Readlink(file); to == secret {
			t.Errorf("the worker has %s as %s", to, filepath.Base(file))
		}
	}
	if session, err := unix.Getsid(worker); err != nil || session != worker {
		t.Errorf("the worker %d is in session %d, %v", worker, session, err)
	}
}
