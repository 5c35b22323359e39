package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A local user who may open /dev/net/tun, as on most distributions, cannot attach to the running
// program's device, which `ip tuntap del` would do.
func TestDeviceCannotBeAttached(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL)
	node := filepath.Join(t.TempDir(), "tun")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	const asOther = `mount --bind "$1" /dev/net/tun; shift; ` +
		`exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all --bounding-set=-all "$@"`
	for _, flags := range []string{"", "vnet_hdr", "multi_queue", "multi_queue vnet_hdr"} {
		argv := append([]string{"unshare", "-m", "sh", "-c", asOther, "sh", node,
			"ip", "tuntap", "del", "dev", "tun0", "mode", "tun"}, strings.Fields(flags)...)
		_, stderr, code := client.Try(argv...)
		if code == 0 || !strings.Contains(stderr, "ioctl(TUNSETIFF)") {
			t.Errorf("another user attaches to the device (%q): exit code %d, %s", flags, code,
				stderr)
		}
	}
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	stop(t, srv)
	if _, _, code := client.Try("ip", "link", "show", "tun0"); code == 0 {
		t.Error("the device stays")
	}
}
