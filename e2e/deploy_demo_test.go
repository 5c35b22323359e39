package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// deploy/demo.sh, which `make demo` runs, succeeds.
func TestDemo(t *testing.T) {
	t.Parallel()
	out, code := runDemo(t, plainBuild(t), "")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"server │ # ip link set dev tun0 up mtu 1400 qlen 100",
		"server │ # ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
		"server │ # ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0",
		"server │ listening on ",
		"client │ # ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
		"client │ up: dev tun0, address 10.1.1.3 ",
		"client │ 10.1.1.0/24 via 10.1.1.4 dev tun0",
		"client │ 3 packets transmitted, 3 received",
		"the same file; ",
		" MB/s",
		"All well.",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no line with %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Ctrl-C at several moments ends the demo and leaves nothing.
func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"Two hosts", "$ tunnel serve", "$ tunnel connect", "3 received",
		"<sent", "kill -TERM"} {
		t.Run(moment, func(t *testing.T) {
			out, code := runDemo(t, plainBuild(t), moment)
			if code != 130 || !strings.Contains(out, "everything is cleaned up") {
				t.Errorf("exit code %d, want 130\n%s", code, out)
			}
		})
	}
}

// The demo reports a program that does not work.
func TestDemoFails(t *testing.T) {
	t.Parallel()
	for step, script := range map[string]string{
		"starting the server": "#!/bin/sh\necho 'tunnel: listen: no: do something' >&2; exit 12\n",
		"starting the client": "#!/bin/sh\n[ $1 = serve ] && echo listening on && exec sleep " +
			"1000\n",
		"pinging across": "#!/bin/sh\n[ $1 = serve ] && echo listening on || echo up:\nexec " +
			"sleep 1000\n",
	} {
		t.Run(step, func(t *testing.T) {
			breakPath := filepath.Join(t.TempDir(), "tunnel")
			if err := os.WriteFile(breakPath, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			out, code := runDemo(t, program(breakPath), "")
			if code == 0 || code > 128 || !strings.Contains(out, "FAILED while "+step) {
				t.Errorf("exit code %d, want a failure while %s\n%s", code, step, out)
			}
		})
	}
}

// runDemo runs the demo. As soon as its output contains interruptAt, unless that is empty, the
// demo's process group gets SIGINT. It fails the test if anything is left.
func runDemo(t *testing.T, bin program, interruptAt string) (out string, code int) {
	t.Helper()
	root, tmp := t.TempDir(), t.TempDir()
	layOut(t, root, bin)
	ctx, cancel := context.WithTimeout(t.Context(), 4*soon)
	defer cancel()
	cmd := clean(exec.CommandContext(ctx, filepath.Join(root, "deploy", "demo.sh")))
	cmd.Env = append(clean(&exec.Cmd{Env: os.Environ()}).Env, "TMPDIR="+tmp, "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as an interactive shell does
	cmd.Cancel = func() error { return syscall.Kill(cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = soon
	pipe, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := cmd.Wait()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = nil
		}
		w.CloseWithError(err)
	}()
	var text strings.Builder
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		if interruptAt != "" && strings.Contains(lines.Text(), interruptAt) {
			interruptAt = ""
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Errorf("interrupt: %v", err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Errorf("demo: %v", err)
	}

	spaces, err := filepath.Glob(fmt.Sprintf("/run/netns/tunnel-demo-%d-*", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if len(spaces) > 0 || len(files) > 0 {
		t.Errorf("left: %v %v", spaces, files)
	}
	eventually(t, "no process of the demo is left",
		func() bool { return len(group(t, cmd.Process.Pid)) == 0 })
	return text.String(), cmd.ProcessState.ExitCode()
}

// group returns the processes of a process group that still run.
func group(t *testing.T, pgid int) (pids []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // the process has ended
		}
		// The fields are: pid (name) state parent group …; the name may contain anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if fields[2] == strconv.Itoa(pgid) && fields[0] != "Z" {
			pids = append(pids, filepath.Base(filepath.Dir(stat)))
		}
	}
	return pids
}
