package sandbox_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/privsep/sandbox"
)

// makeSockets enters the sandbox of a client or a server, and prints which sockets it could make
// all the same.
func makeSockets(dir string, serve bool) int {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	if err := errors.Join(sandbox.Drop(testUser), sandbox.Confine(
		sandbox.Limits{State: dir, Connect: true, Serve: serve}, log)); err != nil {
		fmt.Println(err)
		return 1
	}
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET,
		unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK} {
		if _, err := unix.Socket(unix.AF_UNIX, kind, 0); !errors.Is(err, os.ErrPermission) {
			fmt.Printf("a socket of type %#x: %v\n", kind, err)
		}
	}
	// An end of a pair of datagram sockets can be bound, and leave the other end.
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_RAW,
		unix.SOCK_DGRAM | unix.SOCK_CLOEXEC, unix.SOCK_RAW | unix.SOCK_NONBLOCK,
		unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK} {
		if _, err := unix.Socketpair(unix.AF_UNIX, kind, 0); !errors.Is(err, os.ErrPermission) {
			fmt.Printf("a pair of type %#x: %v\n", kind, err)
		}
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println("no pair of the program's own:", err)
	} else if err := errors.Join(
		unix.Bind(pair[0], &unix.SockaddrUnix{Name: fmt.Sprintf("@privsep-%d", os.Getpid())}),
		unix.Close(pair[1])); err == nil {
		if err := unix.Listen(pair[0], 1); err == nil {
			fmt.Println("could listen on an end of a pair")
		}
	}
	for _, kind := range []int{unix.SOCK_RAW, unix.SOCK_DGRAM | unix.SOCK_CLOEXEC} {
		if _, err := unix.Socket(unix.AF_NETLINK, kind,
			unix.NETLINK_NETFILTER); errors.Is(err, os.ErrPermission) == serve {
			fmt.Printf("a socket of nftables, type %#x: %v\n", kind, err)
		}
	}
	if _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE); err != nil {
		fmt.Println("no socket of the kernel's:", err)
	}
	if _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
		fmt.Println("no socket of the network's:", err)
	}
	return 0
}

// TestNoUnixSockets is what a worker that is broken into cannot do: have an abstract socket, to
// which other processes could connect, or connect to a Unix socket. A client's cannot change
// nftables either.
func TestNoUnixSockets(t *testing.T) {
	iptest.NeedRoot(t)
	if runtime.GOARCH == "386" {
		t.Skip("system calls for sockets are one there (socketcall)")
	}
	dir, err := os.MkdirTemp("", "privsep-") // which another user reaches
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, testUser.UID, testUser.GID); err != nil {
		t.Fatal(err)
	}
	for _, limits := range []string{"client", "server"} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), confinedVariable+"="+dir, limitsVariable+"="+limits)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", limits, err, out)
		}
	}
}

// openTerminal returns a new pseudo-terminal.
func openTerminal(t *testing.T) *os.File {
	t.Helper()
	ptmx := openFile(t, "/dev/ptmx", os.O_RDWR|unix.O_NOCTTY)
	err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0)
	number, err2 := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return openFile(t, fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY)
}

// openTUN returns a TUN device, which goes with its file.
func openTUN(t *testing.T) *os.File {
	t.Helper()
	file := openFile(t, "/dev/net/tun", os.O_RDWR)
	request, err := unix.NewIfreq("privsep%d")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(file.Fd()), unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	return file
}

func openProgram(t *testing.T) *os.File {
	t.Helper()
	return openFile(t, "/bin/true", os.O_RDONLY)
}

func openFile(t *testing.T, name string, flags int) *os.File {
	t.Helper()
	file, err := os.OpenFile(name, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}
