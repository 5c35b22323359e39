package cmdrun_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
	"tunnel/ipcmd/iptest"
)

const helperVariable = "TUNNEL_TEST_HELPER"

// TestMain lets the test binary be the program with a file capability that TestExecFileCapability
// needs.
func TestMain(m *testing.M) {
	if os.Getenv(helperVariable) != "" {
		_, err := cmdrun.NewExec(nil).Run(context.Background(), ipcmd.LinkUp("tun0", 1300, 50))
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestExec(t *testing.T) {
	iptest.Namespace(t)
	iptest.OpenTun(t, "tun0", 0)
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	run := cmdrun.NewExec(log)
	if _, err := run.Run(t.Context(), ipcmd.LinkUp("tun0", 1400, 100)); err != nil {
		t.Fatal(err)
	}
	if got := iptest.IP(t, "link show dev tun0"); !strings.Contains(got, "mtu 1400") ||
		!strings.Contains(got, "qlen 100") {
		t.Errorf("link is %s", got)
	}
	want := `level=INFO msg=run cmd="ip link set dev tun0 up mtu 1400 qlen 100"`
	if !strings.Contains(out.String(), want) {
		t.Errorf("the log lacks %s:\n%s", want, &out)
	}
}

func TestExecFailures(t *testing.T) {
	iptest.Namespace(t)
	iptest.OpenTun(t, "tun0", 0)
	run := cmdrun.NewExec(nil)
	network, via := netip.MustParsePrefix("10.1.1.0/24"), netip.MustParseAddr("10.1.1.2")

	_, err := run.Run(t.Context(), ipcmd.RouteAdd(network, via, "tun0"))
	var failed *cmdrun.Error
	if !errors.As(err, &failed) || failed.ExitCode != 2 || failed.Stderr == "" {
		t.Fatalf("got %#v", err)
	}
	if want := "ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0: "; !strings.HasPrefix(err.Error(),
		want) {
		t.Errorf("got %v, want %s...", err, want)
	}
	for range 2 {
		_, err = run.Run(t.Context(), ipcmd.AddrAdd("tun0", netip.MustParseAddr("10.1.1.1"), via))
	}
	if !errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission) {
		t.Errorf("added twice: %v", err)
	}
	if _, err := run.Run(t.Context(), ipcmd.LinkUp("tun9", 1400, 100)); err == nil ||
		errors.Is(err, fs.ErrExist) {
		t.Errorf("no such device: %v", err)
	}
}

func TestExecNoIP(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := cmdrun.NewExec(nil).Run(t.Context(), show())
	if !errors.Is(err, exec.ErrNotFound) || !strings.HasSuffix(err.Error(),
		"ip is not in PATH: install iproute2") {
		t.Errorf("got %v", err)
	}
	if cmdrun.Uncertain(err) {
		t.Error("uncertain, although nothing ran")
	}
}

func TestExecCancel(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nexec /bin/sleep 60\n"
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := cmdrun.NewExec(nil).Run(ctx, show())
	if !errors.Is(err, context.DeadlineExceeded) || !cmdrun.Uncertain(err) ||
		time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	if !strings.Contains(err.Error(),
		"ip did not end in time, and was killed: run `ip link` by hand") {
		t.Errorf("no advice: %v", err)
	}
	_, err = cmdrun.NewExec(nil).Run(ctx, show())
	if !errors.Is(err, context.DeadlineExceeded) || cmdrun.Uncertain(err) {
		t.Errorf("started after the end: %v", err)
	}
}

// TestExecFileCapability runs this binary as an ordinary user, without and with the file capability
// cap_net_admin+ep.
func TestExecFileCapability(t *testing.T) {
	iptest.Namespace(t)
	iptest.OpenTun(t, "tun0", 0)
	dir, err := os.MkdirTemp("", "tunnel-capability-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "program")
	copyProgram(t, program)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The file's `ip` in the caller's PATH must not be given the capability.
	fake := "#!/bin/sh\nexit 0\n"
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}

	out, err := asNobody(t, program, os.Getenv("PATH"))
	if err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Fatalf("without the capability: %v: %s", err, out)
	}
	// struct vfs_cap_data: revision 2 with the effective bit, then permitted and inheritable, low
	// and high words.
	value := make([]byte, 20)
	value[0], value[3], value[5] = 1, 2, 1<<(unix.CAP_NET_ADMIN-8)
	if err := unix.Setxattr(program, "security.capability", value, 0); err != nil {
		t.Fatalf("give the program a file capability: %v", err)
	}
	if out, err := asNobody(t, program, dir); err != nil {
		t.Fatalf("with the capability: %v: %s", err, out)
	}
	if got := iptest.IP(t, "link show dev tun0"); !strings.Contains(got, "mtu 1300") {
		t.Errorf("link is %s", got)
	}
}

func copyProgram(t *testing.T, to string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(file, from)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func asNobody(t *testing.T, program, path string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = "/"
	cmd.Env = []string{helperVariable + "=1", "PATH=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// show is a command that needs no privileges.
func show() cmdrun.Command {
	return cmdrun.Command{Program: "ip", Args: []string{"-j", "link", "show"}}
}
