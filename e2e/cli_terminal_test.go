package e2e

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// newTerminal returns a new terminal, and its other end.
func newTerminal(t *testing.T) (ptmx, terminal *os.File) {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ptmx.Close() })
	err = unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0)
	number, err2 := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err := firstError(err, err2); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ptmx, terminal
}

// onTerminal starts a client with a new controlling terminal, and returns the terminal's other end.
func onTerminal(t *testing.T, bin program, client *lab.Host) (*lab.Proc, *os.File) {
	t.Helper()
	ptmx, terminal := newTerminal(t)
	defer terminal.Close()
	cmd := bin.command(client, "connect", directURL, "--token", token, "--state", t.TempDir())
	cmd.Stdin = terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	// A program that starts with SIGHUP ignored, as under nohup, leaves it ignored. Notify resets
	// that for the client, however the tests were started.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	cl := watch(t, client.StartCommand(cmd))
	cl.WaitFor("up: ", soon)
	return cl, ptmx
}

// A terminal's Ctrl-C and hangup reach only the parent, which ends the client.
func TestTerminal(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for what, end := range map[string]func(*os.File) error{
		"Ctrl-C": func(
			ptmx *os.File) error {
			_, err := ptmx.WriteString("\x03")
			return err
		},
		"closed terminal": (*os.File).Close,
	} {
		cl, ptmx := onTerminal(t, bin, client)
		t.Logf("the end is by %s", what)
		if err := end(ptmx); err != nil {
			t.Fatal(err)
		}
		if code := cl.Wait(soon); code != 0 || !strings.Contains(cl.Stderr(), "msg=stopped") {
			t.Errorf("%s: exit code %d\n%s", what, code, cl.Stderr())
		}
		untouched(t, client, before)
	}
}

// A client is stopped, as by a shell's Ctrl-Z, and continued.
func TestJobStopped(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cmd := bin.command(client, "connect", directURL, "--token", token, "--state", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cl := watch(t, client.StartCommand(cmd))
	cl.WaitFor("up: ", soon)
	worker := cl.Worker()
	stopped := func(pid int) bool {
		return strings.HasPrefix(strings.Join(processStatus(t, pid, "State"), ""), "State: T")
	}
	kill(t, cl.Pid(), syscall.SIGTSTP)
	eventually(t, "both are stopped", func() bool { return stopped(cl.Pid()) && stopped(worker) })
	kill(t, cl.Pid(), syscall.SIGCONT)
	eventually(t, "both run again", func() bool { return !stopped(cl.Pid()) && !stopped(worker) })
	reaches(t, client, "10.1.1.1")
}
