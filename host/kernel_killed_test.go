package host_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
	"tunnel/sysctl"
)

// TestKernelKilledAtEachStep kills a run before and behind each of its commands: Cleanup leaves
// nothing of it.
func TestKernelKilledAtEachStep(t *testing.T) {
	before := gateway(t)
	for step := 1; ; step++ {
		for _, at := range []int{step, -step} {
			dir := t.TempDir()
			if killAt(t, dir, at) { // it has come to its end: there is no such step
				if step < 8 {
					t.Errorf("it ends before step %d", step)
				}
				if _, err := cleanAll(t, dir); err != nil || whole(t) != before {
					t.Errorf("up: %v, left\n%s", err, whole(t))
				}
				return
			}
			if _, err := cleanAll(t, dir); err != nil || whole(t) != before {
				t.Fatalf("killed at %d: %v, left\n%s", at, err, whole(t))
			}
			empty(t, dir)
		}
	}
}

func cleanAll(t *testing.T, dir string) (journal.Report, error) {
	t.Helper()
	return journal.Cleanup(t.Context(), kernel(), host.Kinds(), nil, dir)
}

// killAt has a victim killed at a command, see killVariable, and reports whether it was up before.
func killAt(t *testing.T, dir string, at int) (up bool) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), helperVariable+"="+dir, killVariable+"="+strconv.Itoa(at))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	switch {
	case line == "up\n":
		kill(t, cmd)
		return true
	case !errors.Is(err, io.EOF) || line != "":
		t.Fatalf("it says %q, %v", line, err)
	}
	_ = cmd.Wait() // says that it was killed
	return false
}

// TestKernelKillSwitchSurvives has a run with a kill switch be killed: it holds, and the next run
// replaces it in one transaction. One that has none removes it.
func TestKernelKillSwitchSurvives(t *testing.T) {
	for _, keep := range []bool{true, false} {
		before, dir := gateway(t), t.TempDir()
		if !killAt(t, dir, 0) {
			t.Fatal("it is not up")
		}
		j, err := openJournal(dir, "tun0")
		if err != nil {
			t.Fatal(err)
		}
		table := firewall.Table{Dev: "tun0"}
		var kept []journal.Fact
		if keep {
			kept = append(kept, table)
		}
		removed, err := j.Heal(t.Context(), kernel(), kept...)
		if err != nil || slices.Contains(removed, table.String()) == keep {
			t.Errorf("%v, %v", removed, err)
		}
		if left := nft(t, "list", "ruleset"); strings.Contains(left, "policy drop") != keep {
			t.Errorf("left\n%s", left)
		}
		r := host.New(kernel(), j, nil)
		r.Adopt()
		err = errors.Join(r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")), r.Close())
		if err != nil || whole(t) != before {
			t.Errorf("%v, left\n%s", err, whole(t))
		}
		empty(t, dir)
	}
}

// TestKernelReadOnlySysctls is a container: one line, and nothing is left. What is on already needs
// no writing.
func TestKernelReadOnlySysctls(t *testing.T) {
	iptest.NeedRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test, and its mounts do
	before := gateway(t)
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""),
		unix.Mount("", "/proc/sys", "", flags, "")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r, _ := newRouter(t, dir)
	err := r.Apply(t.Context(), forwarding())
	const want = "add net.ipv4.conf.tun0.forwarding = 1: sysctl -w net.ipv4.conf.tun0.forwarding=1: " +
		"net.ipv4.conf.tun0.forwarding cannot be set: /proc/sys is read-only here, as in a container"
	var failed *sysctl.Error
	if err == nil || err.Error() != want || !errors.As(err, &failed) ||
		!strings.HasSuffix(failed.Advice(), "in Docker with --sysctl net.ipv4.ip_forward=1") {
		t.Errorf("%v", err)
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
	empty(t, dir)
}

// TestKernelNoNFT has no nft: one line says what to install, and nothing is left.
func TestKernelNoNFT(t *testing.T) {
	before := gateway(t)
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	path, only := os.Getenv("PATH"), t.TempDir()
	if err := os.Symlink(ip, filepath.Join(only, "ip")); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r, _ := newRouter(t, dir)
	t.Setenv("PATH", only)
	err = r.Apply(t.Context(), forwarding())
	const want = "add nftables table inet tunnel_tun0: nft create table inet tunnel_tun0: " +
		"nft is not in PATH: install nftables"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv("PATH", path)
	if whole(t) != before {
		t.Errorf("left\n%s", whole(t))
	}
	empty(t, dir)
}

// TestSecureFirewall is a program with file capabilities: its user could change no firewall, and
// cannot by it.
func TestSecureFirewall(t *testing.T) {
	rules := journal.Rules{Dev: "tun0", Secure: true}
	for _, f := range []journal.Fact{firewall.Table{Dev: "tun0"},
		sysctl.Switch{Setting: sysctl.Setting{Name: sysctl.Forwarding, Dev: "tun0"}}} {
		if err := f.Check(rules); !errors.Is(err, journal.ErrFact) {
			t.Errorf("%s: %v", f, err)
		}
		rules := journal.Rules{Dev: "tun0"}
		if err := f.Check(rules); err != nil {
			t.Error(err)
		}
	}
}

// TestDryFirewall prints what would be done, in order, and reads no firewall.
func TestDryFirewall(t *testing.T) {
	gateway(t)
	var out strings.Builder
	r := dryHost(&out, rtnl.Kernel{})
	if err := errors.Join(r.Apply(t.Context(), forwarding()), r.Close()); err != nil {
		t.Fatal(err)
	}
	golden(t, "gateway.txt", out.String())
	var unknown strings.Builder
	r = dryHost(&unknown, nil)
	if err := errors.Join(r.Apply(t.Context(), forwarding()), r.Close()); err != nil {
		t.Fatal(err)
	}
	// Which interface leads to the network is not known then.
	way := "\t\tiifname \"tun0\" ip daddr 192.168.7.0/24 meta oif != \"lan.7\" " +
		"reject with icmpx admin-prohibited\n"
	if unknown.String() != strings.Replace(out.String(), way, "", 1) {
		t.Errorf("without a look at the machine:\n%s", &unknown)
	}
}

func dryHost(out io.Writer, look rtnl.Lookup) *host.Host {
	return host.New(journal.Machine{Run: cmdrun.DryRun{W: out}, Look: look}, nil, nil)
}
