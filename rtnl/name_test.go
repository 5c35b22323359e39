package rtnl_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/rtnl"
)

// TestCheckName has the kernel make a device of each name: it is the oracle. Only % is a pattern to
// it, which is no matter here.
func TestCheckName(t *testing.T) {
	iptest.Namespace(t)
	names := []string{".", "..", "...", "a", strings.Repeat("a", 15), strings.Repeat("a", 16), "-a"}
	for b := range 255 {
		if b != '%' {
			names = append(names, "x"+string([]byte{byte(b + 1)}))
		}
	}
	for _, name := range names {
		if name == "x%" {
			continue
		}
		if ours, kernel := rtnl.CheckName(name) == nil, makes(t, name); ours != kernel {
			t.Errorf("%q: %v, the kernel says %v", name, ours, kernel)
		}
	}
	if rtnl.CheckName("") == nil {
		t.Error("no name is a name") // the kernel would choose one
	}
}

// makes reports whether the kernel makes a TUN device of that name.
func makes(t *testing.T, name string) bool {
	t.Helper()
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if len(name) >= unix.IFNAMSIZ {
		return false
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	return unix.IoctlIfreq(int(file.Fd()), unix.TUNSETIFF, request) == nil
}
