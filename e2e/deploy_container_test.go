package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// children returns the child processes of parent that are in a state of proc_pid_stat(5), or in any
// for "".
func children(t *testing.T, parent int, state string) (pids []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // the process may have ended
		at := strings.LastIndex(string(text), ") ")
		if at < 0 {
			continue
		}
		f := strings.Fields(string(text)[at+2:])
		if len(f) > 1 && f[1] == strconv.Itoa(parent) && (state == "" || f[0] == state) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// A client that runs as PID 1, as in a container, reaps the orphans of its hooks, and still gets
// the exit codes of its own children (ip, the hooks, the worker).
func TestInitReapsOrphans(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	marker := filepath.Join(t.TempDir(), "orphans")
	for _, sandbox := range []string{"--user=nobody", "--no-sandbox"} {
		hook := `for i in 1 2 3 4 5; do (sleep 0.$i; echo $i >>` + marker + `) & done; exit 3`
		cl := bin.startWrapped(t, client, []string{"unshare", "--pid", "--fork", "--mount-proc",
			"--kill-child"},
			"connect", routedURL, sandbox, "--on-up", hook)
		cl.WaitFor("hook failed", soon)
		cl.WaitFor("exit status 3", soon)
		eventually(t, "all orphans have ended", func() bool {
			text, _ := os.ReadFile(marker)
			return strings.Count(string(text), "\n") == 5
		})
		inits := children(t, cl.Pid(), "")
		if len(inits) != 1 {
			t.Fatalf("unshare has the children %v", inits)
		}
		eventually(t, sandbox+": no zombie is left",
			func() bool { return len(children(t, inits[0], "Z")) == 0 })
		reaches(t, client, "10.1.1.1")
		kill(t, inits[0], syscall.SIGTERM)
		if code := cl.Wait(soon); code != 0 {
			t.Errorf("%s: exit code %d\n%s", sandbox, code, cl.Stderr())
		}
		untouched(t, client, before)
		_ = os.Remove(marker)
	}
}

// With read-only /run and /var/lib, as in a container with --read-only, the program says which
// mounts it needs, and runs with them.
func TestReadOnlyRun(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := plainBuild(t)
	args := []string{"serve", "--plain", "--token", token}
	mounted := func(mounts string) []string {
		return []string{"unshare", "-m", "sh", "-c", mounts + ` && exec "$@"`, "sh"}
	}
	const noRun, noState = `mount -t tmpfs -o ro none /run`,
		` && mount -t tmpfs -o ro none /var/lib`
	failure{
		name: "a read-only /run", code: 13, step: "state",
		says: ": mount a tmpfs at /run/tunnel, in Docker with --tmpfs /run/tunnel",
		args: args, wrap: mounted(noRun + noState),
	}.check(t, server, bin)
	// Docker's --tmpfs makes directories of mode 1777.
	writable := func(parent string) string {
		return fmt.Sprintf(`mount -t tmpfs none %[1]s && mkdir %[1]s/tunnel && `+
			`mount -t tmpfs -o mode=1777 none %[1]s/tunnel && mount -o remount,ro %[1]s`, parent)
	}
	writableRun := writable("/run")
	failure{
		name: "a read-only /var/lib", code: 13, step: "state",
		says: ": mount a volume at /var/lib/tunnel, in Docker with --volume NAME:/var/lib/tunnel",
		args: args, wrap: mounted(writableRun + noState),
	}.check(t, server, bin)
	wrap := mounted(writableRun + " && " + writable("/var/lib"))
	srv := watch(t, server.StartCommand(clean(server.Command(append(append(wrap, string(bin)),
		args...)...))))
	srv.WaitFor("listening on ", soon)
	inside := []string{"nsenter", "-t", strconv.Itoa(srv.Pid()), "-m"}
	out := server.Run(append(inside, "stat", "-c", "%a", "/var/lib/tunnel", "/run/tunnel/0")...)
	if out != "700\n700\n" {
		t.Errorf("the directories have the modes %q", out)
	}
	stop(t, srv)
}

// /run/tunnel is full at the start: the run ends with a reason. It fills up during a run: the
// client reports what it cannot add to the journal, goes on when there is room, and ends cleanly
// without any.
func TestFullRun(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	const small = `mkdir -p /run/tunnel && mount -t tmpfs -o size=32k,mode=700 none /run/tunnel && `
	const fill = `dd if=/dev/zero of=/run/tunnel/fill bs=1k 2>/dev/null`
	failure{
		name: "a full /run/tunnel", code: 13, step: "state",
		says: "no space left on device: make room on the file system of /run/tunnel",
		args: []string{"connect", routedURL, "--token", token, "--state", t.TempDir()},
		wrap: []string{"unshare", "-m", "sh", "-c", small + fill + `; exec "$@"`, "sh"},
	}.check(t, client, bin)
	cl := bin.startWrapped(t, client, []string{"unshare", "-m", "sh", "-c", small + `exec "$@"`,
		"sh"},
		"connect", routedURL, "--on-up",
		"[ -e /run/tunnel/full ] || "+fill+"; touch /run/tunnel/full; echo filled")
	cl.WaitFor("filled", soon)
	// Restoring a fact that is in the journal needs no room.
	client.Run("ip", "route", "del", "10.1.1.0/24", "dev", "tun0")
	cl.WaitFor("restored what something else", soon)
	stop(t, srv)
	cl.WaitFor("down: ", soon)
	// The client has to record the new address and route.
	bin.serve(t, server, "--plain", "--network", "10.9.9.0/24")
	line := cl.WaitFor("in the journal: ", soon)
	if !strings.Contains(line, "no space left on device") || strings.Contains(line, "internal") {
		t.Errorf("it says %s", line)
	}
	inside := []string{"nsenter", "-t", strconv.Itoa(cl.Pid()), "-m"}
	client.Run(append(inside, "rm", "/run/tunnel/fill")...)
	cl.WaitForNth("up: ", 2, soon)
	reaches(t, client, "10.9.9.1")
	client.Try(append(inside, "sh", "-c", fill)...)
	stop(t, cl)
	untouched(t, client, before)
}

// A server runs as root of an ordinary user's user namespace without any flags, and keeps its state
// below the user's home.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	_, client := direct(t)
	home := ownedByNobody(t)
	program := filepath.Join(home, "tunnel")
	copyProgram(t, string(bin), program)
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	rootlessIn := func(home, command string) []string {
		return append(unprivileged(), "env", "-u", "XDG_RUNTIME_DIR", "HOME="+home,
			"unshare", "-U", "-r", "-n", "sh", "-c", "ip link set lo up; exec "+program+" "+command)
	}
	rootless := func(command string) []string { return rootlessIn(home, command) }
	// The rest of the test does what the failure's line recommends.
	for _, none := range []string{"", "/"} {
		_, stderr, code := client.TryCommand(clean(client.Command(rootlessIn(none,
			"serve --listen 127.0.0.1:8443")...)))
		if code != 13 || !strings.HasSuffix(stderr,
			": set HOME or XDG_RUNTIME_DIR to a directory of your own\n") {
			t.Errorf("HOME=%s: exit code %d\n%s", none, code, stderr)
		}
	}
	srv := watch(t,
		client.StartCommand(clean(client.Command(rootless("serve --listen 127.0.0.1:8443")...))))
	srv.WaitFor("listening on ", soon)
	out, stderr, code := client.TryCommand(clean(client.Command(rootless("token list")...)))
	if code != 0 || !strings.Contains(out, "first") {
		t.Errorf("token list: exit code %d\n%s%s", code, out, stderr)
	}
	stop(t, srv)
	if _, err := os.Stat(filepath.Join(home, ".local/state/tunnel/tunnel.db")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(home, ".local/state/tunnel/run/*")); err != nil ||
		len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
