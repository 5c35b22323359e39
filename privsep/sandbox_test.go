package privsep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/privsep"
)

// The test binary is also the process in the sandbox, and the parent's worker.
const (
	confinedVariable = "PRIVSEP_TEST_CONFINED" // the state directory
	behaviorVariable = "PRIVSEP_TEST_WORKER"   // what the worker does
)

func TestMain(m *testing.M) {
	if privsep.IsWorker(os.Args) {
		os.Exit(beWorker(os.Getenv(behaviorVariable)))
	}
	if dir := os.Getenv(confinedVariable); dir != "" {
		os.Exit(beConfined(dir))
	}
	os.Exit(m.Run())
}

var testUser = privsep.User{Name: "nobody", UID: 65534, GID: 65534}

// attempts is what a worker that was broken into would try. Each must fail, with one of the errors of somebody who may not.
func attempts(dir string) map[string]func() error {
	return map[string]func() error{
		"read /etc/shadow":      func() error { _, err := os.ReadFile("/etc/shadow"); return err },
		"write to /etc":         func() error { return os.WriteFile("/etc/tunnel-test", nil, 0o600) },
		"write to /tmp":         func() error { return os.WriteFile(filepath.Join(os.TempDir(), "tunnel-test"), nil, 0o666) },
		"list /":                func() error { _, err := os.ReadDir("/"); return err },
		"read a program":        func() error { _, err := os.ReadFile("/bin/sh"); return err },
		"execute":               func() error { return exec.CommandContext(context.Background(), "/bin/true").Run() },
		"execute its own":       func() error { return syscall.Exec("/proc/self/exe", []string{"x"}, nil) },
		"execute what it wrote": func() error { return executeOwn(dir) },
		"trace the parent":      func() error { return unix.PtraceSeize(os.Getppid()) },
		"signal the parent":     func() error { return unix.Kill(os.Getppid(), 0) },
		"mount":                 func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"be root":               func() error { return syscall.Setresuid(0, 0, 0) },
		"own a file of others":  func() error { return os.Chown(filepath.Join(dir, "state"), 0, 0) },
		"a raw device":          func() error { return unix.Mknod(filepath.Join(dir, "disk"), unix.S_IFBLK|0o600, 8<<8) },
		"another namespace":     func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		"more capabilities":     raise,
		"listen": func() error {
			var plain net.ListenConfig
			plain.SetMultipathTCP(false) // landlock knows of TCP only
			ln, err := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
			if err == nil {
				_ = ln.Close()
			}
			return err
		},
		"connect": func() error {
			conn, err := net.Dial("tcp", os.Getenv("PRIVSEP_TEST_LISTENER")) //nolint:noctx // it must fail
			if err == nil {
				_ = conn.Close()
			}
			return err
		},
		"an abstract socket": func() error {
			conn, err := net.Dial("unix", "@"+os.Getenv("PRIVSEP_TEST_ABSTRACT")) //nolint:noctx // it must fail
			if err == nil {
				_ = conn.Close()
			}
			return err
		},
		"read another's memory": func() error {
			_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
			return err
		},
	}
}

func raise() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const all = ^uint32(0)
	sets := [2]unix.CapUserData{{Effective: all, Permitted: all}, {Effective: all, Permitted: all}}
	return unix.Capset(&header, &sets[0])
}

func executeOwn(dir string) error {
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		return fmt.Errorf("it may not even write: %s", err) //nolint:errorlint // not the error that is expected
	}
	return exec.CommandContext(context.Background(), path).Run()
}

// beConfined enters the sandbox, and prints what it could do all the same.
func beConfined(dir string) int {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	if err := errors.Join(privsep.Drop(testUser), privsep.Confine(privsep.Sandbox{State: dir}, log)); err != nil {
		fmt.Println(err)
		return 1
	}
	for what, try := range attempts(dir) {
		switch err := try(); {
		case err == nil:
			fmt.Println("could", what)
		case !errors.Is(err, os.ErrPermission):
			fmt.Printf("%s: %v\n", what, err)
		}
	}
	for what, try := range map[string]func() error{
		"write its state":  func() error { return os.WriteFile(filepath.Join(dir, "own"), nil, 0o600) },
		"replace its own":  func() error { return os.Rename(filepath.Join(dir, "own"), filepath.Join(dir, "state")) },
		"make a directory": func() error { return os.Mkdir(filepath.Join(dir, "acme"), 0o700) },
		"a socket of its own": func() error {
			ln, err := net.Listen("unix", filepath.Join(dir, "control.sock")) //nolint:noctx // at once
			if err == nil {
				_ = ln.Close()
			}
			return err
		},
		"read /etc/passwd":  func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"threads as before": func() error { time.Sleep(20 * time.Millisecond); return nil },
	} {
		if err := try(); err != nil {
			fmt.Printf("could not %s: %v\n", what, err)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	fmt.Printf("%s%v\n", status, err)
	threads, err := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		status, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/status")
		if !strings.Contains(string(status), "CapEff:\t0000000000001000\n") {
			fmt.Printf("thread %s: %s%v\n", thread.Name(), status, err)
		}
	}
	fmt.Println("end", err)
	return 0
}

// TestSandbox is what a worker that is broken into cannot do, on this kernel.
func TestSandbox(t *testing.T) {
	iptest.NeedRoot(t)
	dir, err := os.MkdirTemp("", "privsep-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	state := filepath.Join(dir, "state.d")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(state, 0o700), os.WriteFile(filepath.Join(state, "state"), nil, 0o600),
		os.Chown(state, testUser.UID, testUser.GID), os.Chown(filepath.Join(state, "state"), testUser.UID, testUser.GID)); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of the test
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	abstract := fmt.Sprintf("privsep-test-%d", os.Getpid())
	unixListener, err := net.Listen("unix", "@"+abstract) //nolint:noctx // of the test
	if err != nil {
		t.Fatal(err)
	}
	defer unixListener.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), confinedVariable+"="+state, "PRIVSEP_TEST_LISTENER="+tcp.Addr().String(), "PRIVSEP_TEST_ABSTRACT="+abstract)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text := string(out)
	status, rest, _ := strings.Cut(text[max(strings.Index(text, "Name:\t"), 0):], "<nil>\n")
	if before, _, _ := strings.Cut(text, "Name:\t"); before != "" || rest != "end <nil>\n" {
		t.Errorf("in the sandbox:\n%s…\n%s", before, rest)
	}
	for _, want := range []string{
		"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n", "NoNewPrivs:\t1\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000001000\n", "CapEff:\t0000000000001000\n", "CapBnd:\t0000000000001000\n", "CapAmb:\t0000000000000000\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	// The attempts fail for the sandbox, not for want of what they try: root in none can do all that does no harm.
	for _, what := range []string{"read /etc/shadow", "read a program", "execute", "list /", "listen"} {
		if err := attempts(dir)[what](); err != nil {
			t.Errorf("%s fails without a sandbox: %v", what, err)
		}
	}
}

func TestFindUser(t *testing.T) {
	for name, want := range map[string]privsep.User{
		"nobody": testUser, "65534": testUser, "54321": {Name: "54321", UID: 54321, GID: 54321},
	} {
		if got, err := privsep.FindUser(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"root", "0", "no such user", "-1", "99999999999"} {
		if got, err := privsep.FindUser(name); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if u, err := privsep.FindUser(""); err != nil || u.UID == 0 {
		t.Errorf("default: %+v, %v", u, err)
	}
}
