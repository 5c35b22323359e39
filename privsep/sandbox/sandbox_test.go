package sandbox_test

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
	"unsafe"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/privsep/sandbox"
)

// The test binary is also the process in the sandbox.
const (
	confinedVariable = "PRIVSEP_TEST_CONFINED" // the state directory
	limitsVariable   = "PRIVSEP_TEST_LIMITS"   // "client" or "server": what sockets it makes
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(confinedVariable); os.Getenv(limitsVariable) != "" {
		os.Exit(makeSockets(dir, os.Getenv(limitsVariable) == "server"))
	} else if dir != "" {
		os.Exit(beConfined(dir))
	}
	os.Exit(m.Run())
}

var testUser = sandbox.User{Name: "nobody", UID: 65534, GID: 65534}

// attempts is what a worker that was broken into would try. Each must fail, with one of the errors
// of somebody who may not.
func attempts(dir string) map[string]func() error {
	return map[string]func() error{
		"read /etc/shadow": func() error { _, err := os.ReadFile("/etc/shadow"); return err },
		"write to /etc": func() error {
			return os.WriteFile("/etc/tunnel-test", nil,
				0o600)
		},
		"write to /tmp": func() error {
			return os.WriteFile(filepath.Join(os.TempDir(),
				"tunnel-test"), nil, 0o666)
		},
		"list /":         func() error { _, err := os.ReadDir("/"); return err },
		"read a program": func() error { _, err := os.ReadFile("/bin/sh"); return err },
		"execute": func() error {
			return exec.CommandContext(context.Background(),
				"/bin/true").Run()
		},
		"execute its own": func() error {
			return syscall.Exec("/proc/self/exe", []string{"x"},
				nil)
		},
		"execute what it wrote": func() error { return executeOwn(dir) },
		"trace the parent":      func() error { return unix.PtraceSeize(os.Getppid()) },
		"signal the parent":     func() error { return unix.Kill(os.Getppid(), 0) },
		"mount":                 func() error { return unix.Mount("none", dir, "tmpfs", 0, "") },
		"be root":               func() error { return syscall.Setresuid(0, 0, 0) },
		"own a file of others": func() error {
			return os.Chown(filepath.Join(dir, "state"), 0,
				0)
		},
		"a raw device": func() error {
			return unix.Mknod(filepath.Join(dir, "disk"),
				unix.S_IFBLK|0o600, 8<<8)
		},
		"another namespace": func() error { return unix.Unshare(unix.CLONE_NEWNET) },
		"more capabilities": raise,
		"type into a terminal": func() error {
			return ioctl(terminalFD, unix.TIOCSTI,
				uintptr(unsafe.Pointer(&[]byte{'x'}[0])))
		},
		"take a terminal": func() error { return ioctl(terminalFD, unix.TIOCSCTTY, 0) },
		"paste into a console": func() error {
			return ioctl(terminalFD, unix.TIOCLINUX,
				uintptr(unsafe.Pointer(&[]byte{3}[0])))
		},
		"leave the device":     func() error { return ioctl(deviceFD, unix.TUNSETPERSIST, 1) },
		"give the device away": func() error { return ioctl(deviceFD, unix.TUNSETOWNER, 0) },
		"a user namespace":     func() error { return fork(unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD)) },
		"a process":            func() error { return fork(uintptr(unix.SIGCHLD)) },
		"execute from memory":  executeMemory,
		"execute a descriptor": func() error { return executeFile(programFD) },
		"read the keyring": func() error {
			_,
				err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false)
			return err
		},
		"outlive the parent": func() error {
			return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0,
				0)
		},
		"open to debuggers": func() error {
			return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0,
				0)
		},
		"an io_uring":     func() error { return call(unix.SYS_IO_URING_SETUP, 1, 0) },
		"a BPF program":   func() error { return call(unix.SYS_BPF, 5, 0) },
		"shared memory":   func() error { return call(unix.SYS_SHMGET, 0, 4096) },
		"semaphores":      func() error { return call(unix.SYS_SEMGET, 0, 1) },
		"messages":        func() error { return call(unix.SYS_MSGGET, 0, 0) },
		"a message queue": openQueue,
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
		"watch a directory":  func() error { return call(unix.SYS_INOTIFY_INIT1, 0, 0) },
		"watch a filesystem": func() error { return call(unix.SYS_FANOTIFY_INIT, 0x200, 0) },
		"change a mode": func() error {
			return unix.Fchmodat(unix.AT_FDCWD, foreignFile(dir), 0o4755, 0)
		},
		"change the mode of its own": func() error {
			return os.Chmod(filepath.Join(dir, "state"), 0o644)
		},
		"change an owner": func() error {
			return unix.Fchownat(unix.AT_FDCWD, foreignFile(dir), testUser.UID, testUser.GID, 0)
		},
		"change a time": func() error {
			return os.Chtimes(foreignFile(dir), time.Unix(1, 0), time.Unix(1, 0))
		},
		"write an attribute": func() error {
			return unix.Setxattr(foreignFile(dir), "user.test", []byte("x"), 0)
		},
		"remove an attribute": func() error { return unix.Removexattr(foreignFile(dir), "user.other") },
		"read an attribute": func() error {
			_, err := unix.Getxattr(foreignFile(dir), "user.other", nil)
			return err
		},
		"read another's memory": func() error {
			_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
			return err
		},
	}
}

// foreignFile is of the worker's user, and beside the directory that it may write to.
func foreignFile(dir string) string { return filepath.Join(filepath.Dir(dir), "foreign") }

func raise() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const all = ^uint32(0)
	sets := [2]unix.CapUserData{{Effective: all, Permitted: all}, {Effective: all, Permitted: all}}
	return unix.Capset(&header, &sets[0])
}

// What the process in the sandbox is given beside its output.
const (
	terminalFD = 3
	deviceFD   = 4
	programFD  = 5
)

func call(number, arg1, arg2 uintptr) error {
	if _, _, e := unix.RawSyscall(number, arg1, arg2, 0); e != 0 {
		return e
	}
	return nil
}

// openQueue makes a message queue of mq_overview(7).
func openQueue() error {
	name := []byte("tunnel-test\x00")
	_, _, e := unix.RawSyscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(&name[0])),
		unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func ioctl(fd, request, arg uintptr) error {
	if _, _, e := unix.RawSyscall(unix.SYS_IOCTL, fd, request, arg); e != 0 {
		return e
	}
	return nil
}

// fork makes a process by clone(2), which ends at once.
func fork(flags uintptr) error {
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if e == 0 && pid == 0 {
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	if e != 0 {
		return e
	}
	return nil
}

func executeMemory() error {
	fd, err := unix.MemfdCreate("program", 0)
	if err != nil {
		return err
	}
	return executeFile(uintptr(fd))
}

func executeFile(fd uintptr) error {
	empty, nothing := []byte{0}, []uintptr{0}
	_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, fd, uintptr(unsafe.Pointer(&empty[0])),
		uintptr(unsafe.Pointer(&nothing[0])), uintptr(unsafe.Pointer(&nothing[0])),
		unix.AT_EMPTY_PATH, 0)
	return e
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
	socket, failed := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(failed, sandbox.Drop(testUser),
		sandbox.Confine(sandbox.Limits{State: dir, Serve: true}, log)); err != nil {
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
		"write its state": func() error {
			return os.WriteFile(filepath.Join(dir, "own"), nil,
				0o600)
		},
		"replace its own": func() error { // in no order with the others, as maps have none
			path := filepath.Join(dir, "new")
			return errors.Join(os.WriteFile(path, nil, 0o600),
				os.Rename(path, filepath.Join(dir, "state")))
		},
		"make a directory": func() error { return os.Mkdir(filepath.Join(dir, "acme"), 0o700) },
		"name the socket that it has": func() error {
			return errors.Join(
				unix.Bind(socket, &unix.SockaddrUnix{Name: filepath.Join(dir, "control.sock")}),
				unix.Listen(socket, 1))
		},
		"change the mode of an open file": func() error {
			f, err := os.Open(filepath.Join(dir, "state"))
			if err == nil {
				err = errors.Join(f.Chmod(0o640), f.Close())
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
		if !strings.Contains(string(status), "CapEff:\t0000000000001000\n") ||
			!strings.Contains(string(status), "Seccomp:\t2\n") {
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
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(state, 0o700),
		os.WriteFile(filepath.Join(state, "state"), nil, 0o600),
		os.WriteFile(foreignFile(state), nil, 0o600),
		os.Chown(foreignFile(state), testUser.UID, testUser.GID),
		os.Chown(state, testUser.UID, testUser.GID),
		os.Chown(filepath.Join(state, "state"), testUser.UID, testUser.GID)); err != nil {
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
	cmd.Env = append(os.Environ(), confinedVariable+"="+state,
		"PRIVSEP_TEST_LISTENER="+tcp.Addr().String(), "PRIVSEP_TEST_ABSTRACT="+abstract)
	cmd.ExtraFiles = []*os.File{openTerminal(t), openTUN(t), openProgram(t)}
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
		"Uid:\t65534\t65534\t65534\t65534\n", "Gid:\t65534\t65534\t65534\t65534\n", "Groups:\t \n",
		"NoNewPrivs:\t1\n",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000001000\n", "CapEff:\t0000000000001000\n",
		"CapBnd:\t0000000000001000\n", "CapAmb:\t0000000000000000\n",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	// The attempts fail for the sandbox, not for want of what they try: root in none can do all
	// that does no harm.
	for _, what := range []string{"read /etc/shadow", "read a program", "execute", "list /",
		"listen"} {
		if err := attempts(dir)[what](); err != nil {
			t.Errorf("%s fails without a sandbox: %v", what, err)
		}
	}
}

func TestFindUser(t *testing.T) {
	for name, want := range map[string]sandbox.User{
		"nobody": testUser, "65534": testUser, "54321": {Name: "54321", UID: 54321, GID: 54321},
	} {
		if got, err := sandbox.FindUser(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"root", "0", "no such user", "-1", "99999999999"} {
		if got, err := sandbox.FindUser(name); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if u, err := sandbox.FindUser(""); err != nil || u.UID == 0 {
		t.Errorf("default: %+v, %v", u, err)
	}
}
