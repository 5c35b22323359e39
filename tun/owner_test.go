package tun

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"
)

// otherUser is the id of a user without capabilities.
const otherUser = 54321

// attachAsOther tries to attach to the device as otherUser. It opens /dev/net/tun as root, because
// the kernel checks the owner at TUNSETIFF only. It tries all flags that a device can have, and
// returns nil if the kernel accepts one.
func attachAsOther(t *testing.T, name string) error {
	t.Helper()
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0) // of this thread's namespace
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, otherUser, otherUser, otherUser); e != 0 {
			result <- nil
			return
		}
		var refusals error
		for _, flags := range []uint16{0, unix.IFF_VNET_HDR, unix.IFF_MULTI_QUEUE,
			unix.IFF_MULTI_QUEUE | unix.IFF_VNET_HDR} {
			request, err := unix.NewIfreq(name)
			if err == nil {
				request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | flags)
				err = unix.IoctlIfreq(int(file.Fd()), unix.TUNSETIFF, request)
			}
			if err == nil {
				result <- nil
				return
			}
			refusals = errors.Join(refusals, err)
		}
		result <- refusals
	}()
	return <-result
}

// Another user, who may open /dev/net/tun, cannot attach to a device of this program, neither while
// it is open nor in the moment when no process has it open.
func TestNobodyElseAttaches(t *testing.T) {
	for name, open := range map[string]func(string) (Device, error){"offload": Open,
		"plain": OpenPlain} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			d, err := open("tun0")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if attachAsOther(t, "tun0") == nil {
				t.Error("another user has a queue of the device")
			}
			// With several queues, another user could have attached before there was an owner.
			details, err := exec.CommandContext(t.Context(), "ip", "-d", "link", "show",
				"tun0").Output()
			if err != nil || strings.Contains(string(details), "multi_queue") ||
				!strings.Contains(string(details), "type tun") {
				t.Errorf("%v, %s", err, details)
			}
		})
	}
	t.Run("while no process has it open", func(t *testing.T) {
		inNamespace(t)
		iface, err := water.New(config("tun0", true))
		if err != nil {
			t.Fatal(err)
		}
		if attachAsOther(t, "tun0") == nil {
			t.Error("another user has a queue of the device before it is taken over")
		}
		_ = iface.Close()
		if err := attachAsOther(t, "tun0"); !errors.Is(err, unix.EPERM) {
			t.Errorf("another user attaches to the device that no process has open: %v", err)
		}
		if err := destroy("tun0"); err != nil {
			t.Error(err)
		}
	})
	t.Run("without an owner", func(t *testing.T) { // shows that attachAsOther can succeed
		inNamespace(t)
		ip(t, "tuntap", "add", "dev", "tun0", "mode", "tun")
		if err := attachAsOther(t, "tun0"); err != nil {
			t.Error(err)
		}
	})
}
