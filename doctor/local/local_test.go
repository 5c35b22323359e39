package local

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/doctor"
	"tunnel/rtnl"
)

// The options of systemd-networkd are found where networkd.conf(5) says, the last file first.
func TestManaged(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want string) {
		t.Helper()
		if got := managed(root); got != want {
			t.Errorf("%q is on, want %q", got, want)
		}
	}
	is("ManageForeignRoutes")
	write("etc/systemd/networkd.conf", "[Network]\n#ManageForeignRoutes=no\n")
	is("ManageForeignRoutes")
	write("etc/systemd/networkd.conf", "[Network]\nManageForeignRoutes = No\n")
	is("ManageForeignRoutingPolicyRules")
	write("usr/lib/systemd/networkd.conf.d/50-x.conf", "ManageForeignRoutingPolicyRules=0\n")
	is("")
	write("etc/systemd/networkd.conf.d/50-x.conf", "\n") // masks the one in /usr/lib
	is("ManageForeignRoutingPolicyRules")
	write("run/systemd/networkd.conf.d/60-y.conf", "manageforeignroutingpolicyrules=false\n")
	is("")
	write("run/systemd/networkd.conf.d/70-z.conf", "ManageForeignRoutes=yes\n")
	is("ManageForeignRoutes")
}

func TestClock(t *testing.T) {
	if f := clockAt(time.Unix(0, 0))[0]; f.Problem != doctor.ClockWrong || f.Verdict != doctor.Fail {
		t.Errorf("in 1970: %+v", f)
	}
	if f := clockAt(time.Now())[0]; f.Verdict != doctor.OK {
		t.Errorf("now: %+v", f)
	}
}

// A directory is said to be in use while a process holds a lock on a file in it.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	missing := directory(checkState, filepath.Join(dir, "a", "b"))[0]
	if missing.Verdict != doctor.OK || !strings.Contains(missing.Saw, "does not exist yet") {
		t.Errorf("missing: %+v", missing)
	}
	file, err := os.Create(filepath.Join(dir, "tunnel.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if pids := lockers(dir); len(pids) > 0 {
		t.Errorf("locked by %v", pids)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if pids := lockers(dir); !slices.Equal(pids, []string{strconv.Itoa(os.Getpid())}) {
		t.Errorf("locked by %v, and not by %d", pids, os.Getpid())
	}
	if f := directory(checkState, file.Name())[0]; f.Problem != doctor.NotWritable {
		t.Errorf("a file: %+v", f)
	}
}

// Uplinks of PPP and of modems (ARPHRD_PPP, ARPHRD_NONE) are no VPNs.
func TestIsTunnel(t *testing.T) {
	for files, want := range map[[2]string]bool{
		{"type", "512"}: false, {"type", "65534"}: false, {"uevent", "DEVTYPE=wwan\n"}: false,
		{"uevent", "DEVTYPE=wireguard\nINTERFACE=wg0\n"}: true, {"tun_flags", "0x1001\n"}: true,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, files[0]), []byte(files[1]), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := isTunnel(dir); got != want {
			t.Errorf("%s: %v", files, got)
		}
	}
}

// What cannot be read is not called a leftover or a VPN, nor a failure.
func TestUnread(t *testing.T) {
	m := Machine{Look: blind{}}
	f := m.defaultRoutes(t.Context())[0]
	if f.Verdict != doctor.Warn || f.Problem != doctor.NotReadable || f.Err == nil {
		t.Errorf("%+v", f)
	}
}

// blind sees no routes.
type blind struct{ rtnl.Lookup }

func (blind) Routes(int, int, func(rtnl.Route) bool) error { return unix.EPERM }
