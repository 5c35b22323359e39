package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// processStatus returns lines of /proc/PID/status of every thread, without duplicates.
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
			continue // the thread has ended
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

// The processes that talk to the network have only the documented privileges, as the kernel reports
// them.
func TestWorkerHasOneCapability(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.startServe(t, server, "--metrics", "localhost:9551", "--web", ":8444")
	pin := regexp.MustCompile(`sha256:\S+`).FindString(srv.WaitFor("tunnel connect ", soon))
	cl := bin.connect(t, client, strings.Replace(directURL, "ws://", "wss://", 1), "--pin", pin,
		"--metrics", "localhost:9551")
	reaches(t, client, "10.1.1.1")
	for what, proc := range map[string]*lab.Proc{"serve": srv, "connect": cl} {
		worker := proc.Worker()
		if worker == proc.Pid() {
			t.Fatalf("%s has no worker", what)
		}
		want := []string{
			"CapAmb: 0000000000000000", "CapBnd: 0000000000001000", "CapEff: 0000000000001000",
			"CapInh: 0000000000000000",
			"CapPrm: 0000000000001000", "Gid: 65534 65534 65534 65534", "Groups:", "NoNewPrivs: 1",
			"Seccomp: 2", "Uid: 65534 65534 65534 65534",
		}
		got := processStatus(t, worker, "CapAmb", "CapBnd", "CapEff", "CapInh", "CapPrm", "Gid",
			"Groups", "NoNewPrivs", "Seccomp", "Uid")
		if !slices.Equal(got, want) {
			t.Errorf("threads of the worker of %s:\n%q\nwant\n%q", what, got, want)
		}
		if sockets := networkSockets(t, proc.Pid()); len(sockets) > 0 {
			t.Errorf("the parent of %s has %q", what, sockets)
		}
	}
}

// networkSockets returns the TUN devices of a process, and its sockets that lead out of this
// machine.
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

// The worker is killed: the parent undoes all changes, says so in a line, and ends with code 1.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	kill(t, cl.Worker(), syscall.SIGKILL)
	if code := cl.Wait(soon); code != 1 || !strings.Contains(cl.Stderr(),
		"tunnel: internal: the worker was ended by a signal: killed") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
	bin.connect(t, client, routedURL) // nothing is left
	reaches(t, client, "10.1.1.1")
	stop(t, srv)
}

// The worker ends as the Go runtime ends a program with a defect: with a dump and exit code 2.
func TestWorkerCrashes(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, routedURL)
	kill(t, cl.Worker(), syscall.SIGQUIT)
	code := cl.Wait(soon)
	const says = "\ntunnel: internal: the worker crashed (exit code 2): " +
		"see its output above, and report it\n"
	if code != 1 || !strings.Contains(cl.Stderr(), says) || !strings.Contains(cl.Stderr(),
		"goroutine ") {
		t.Errorf("exit code %d\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
}

// A program that the Go runtime ends because of a defect, here because of SIGQUIT, ends by SIGABRT
// if it is no worker. Go's exit code, 2, would be that of a wrong call, after which a unit is not
// started again.
func TestDefectAborts(t *testing.T) {
	t.Parallel()
	h := lab.New(t).Host("alone")
	bin := plainBuild(t)
	srv := bin.startWrapped(t, h, []string{"prlimit", "--core=0"}, "serve", "--plain",
		"--no-sandbox")
	srv.WaitFor("listening on ", soon)
	srv.Signal(syscall.SIGQUIT)
	if code := srv.Wait(soon); code != -1 || !strings.Contains(srv.Stderr(), "goroutine ") {
		t.Errorf("exit code %d, want none\n%s", code, srv.Stderr())
	}
	if out, stderr, code := h.TryCommand(bin.command(h, "cleanup")); code != 0 {
		t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
	}
}

// The parent is killed: the worker ends at once, and the next run takes over what is left.
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
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", worker)); err == nil &&
			!strings.Contains(string(text), ") Z ") {
			t.Errorf("the worker still runs: %s", text)
		}
	}
	eventually(t, "the client is back",
		func() bool {
			_, _, code := client.Try("ping", "-c1", "-W1", "10.1.1.1")
			return code == 0
		})
}

// The worker does not react to anything, as a compromised one could: the parent ends all the same.
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

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// A hook's environment has none of the program's secrets.
func TestHookEnvironment(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, flags := range [][]string{nil, {"--no-sandbox"}} {
		cmd := bin.command(client, append([]string{"connect", directURL, "--state", t.TempDir(),
			"--on-up", "env; echo the end"}, flags...)...)
		cmd.Env = append(cmd.Env, "TUNNEL_TOKEN="+token, "TUNNEL_PROXY=none", "HOOK_OWN=kept")
		cl := watch(t, client.StartCommand(cmd))
		cl.WaitFor("the end", soon)
		text := cl.Stderr()
		if strings.Contains(text, token) || strings.Contains(text, "TUNNEL_PROXY") ||
			!strings.Contains(text, "HOOK_OWN=kept") || !strings.Contains(text,
			"TUNNEL_ADDRESS=10.1.1.") {
			t.Errorf("the hook sees\n%s", text)
		}
		stop(t, cl)
	}
}

// The program reads a token file that only root may read.
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

// A file that was open when the program started is not open in the worker or in a hook, and the
// worker has a session of its own.
func TestWorkerInherits(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrap := []string{"sh", "-c", `export CLOUD_KEY=of-root; exec "$@" 7<"$0" 0<"$0" 1>>"$0"`, secret}
	cl := bin.startWrapped(t, client, wrap, "connect", directURL, "--on-up",
		"ls -l /proc/self/fd; echo the end")
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
	for pid, want := range map[int]bool{worker: false, cl.Pid(): true} {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || strings.Contains(string(environ), "CLOUD_KEY") != want {
			t.Errorf("the environment of %d: %q, %v", pid, environ, err)
		}
	}
	if session, err := unix.Getsid(worker); err != nil || session != worker {
		t.Errorf("the worker %d is in session %d, %v", worker, session, err)
	}
}
