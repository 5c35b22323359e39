package iptest

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
)

// Namespace moves the calling test into a network namespace of its own, with lo up, which goes with
// the test. It binds the test's goroutine to its thread for good: only what this goroutine does,
// and the commands that it runs, happen in the namespace. It fails the test when it does not run as
// root.
func Namespace(t testing.TB) {
	t.Helper()
	NeedRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	IP(t, "link set lo up")
}

// NeedRoot fails a test that does not run as root; such a test never passes by being skipped.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and needs root: " +
			"run the tests by `make test`, or with sudo")
	}
}

// IP runs the real ip with the words of args and returns what it prints, trimmed. A failure fails
// the test.
func IP(t testing.TB, args string) string {
	t.Helper()
	out, err := cmdrun.NewExec(nil).Run(t.Context(),
		cmdrun.Command{Program: "ip", Args: strings.Fields(args)})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// Link makes an interface dev that is up and has the address addr, a prefix, and a neighbour to
// route through in its network.
func Link(t testing.TB, dev, addr string) {
	t.Helper()
	IP(t, "link add "+dev+" type veth peer name "+dev+"-peer")
	IP(t, "link set "+dev+"-peer up")
	IP(t, "link set "+dev+" up")
	IP(t, "addr add dev "+dev+" "+addr)
}

// OpenTun makes the TUN device dev, as a program does that has it; it goes when the file is closed,
// at the latest with the test. Flags such as unix.IFF_MULTI_QUEUE are added to the usual ones.
func OpenTun(t testing.TB, dev string, flags uint16) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open /dev/net/tun: %v", err)
	}
	file := os.NewFile(uintptr(fd), "/dev/net/tun")
	t.Cleanup(func() { _ = file.Close() })
	request, err := unix.NewIfreq(dev)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatalf("make the TUN device %s: %v", dev, err)
	}
	return file
}
