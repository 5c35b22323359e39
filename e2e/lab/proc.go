package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// dumpLimit bounds how much of each stream is logged after a failed test, in bytes.
const dumpLimit = 16 << 10

// Proc is a program that runs in the background on a host, at most until the end of the lab.
type Proc struct {
	t    TB
	name string // host and command line
	cmd  *exec.Cmd
	done chan struct{} // closed after the program has ended and its output is complete

	mu      sync.Mutex // guards the rest
	stdout  bytes.Buffer
	stderr  bytes.Buffer
	changed chan struct{} // closed and replaced whenever output arrives
}

// Start runs a command in the background.
func (h *Host) Start(argv ...string) *Proc {
	h.lab.t.Helper()
	return h.StartCommand(h.Command(argv...))
}

// StartCommand is Start for a command that the caller has changed (its environment, stdin). Stdout
// and stderr belong to the Proc.
func (h *Host) StartCommand(cmd *exec.Cmd) *Proc {
	h.lab.t.Helper()
	p := &Proc{
		t:       h.lab.t,
		name:    h.name + ": " + strings.Join(cmd.Args[min(4, len(cmd.Args)-1):], " "),
		cmd:     cmd,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
	}
	cmd.Stdout = &stream{p: p, buf: &p.stdout}
	cmd.Stderr = &stream{p: p, buf: &p.stderr}
	// On a real host, too, daemons and users' programs have sessions of their own. With
	// kernel.sched_autogroup_enabled the scheduler weighs sessions against each other.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	// A child that outlives the program must not block Wait.
	cmd.WaitDelay = killWait
	if err := cmd.Start(); err != nil {
		h.lab.t.Fatalf("start %s: %v", p.name, err)
	}
	h.lab.mu.Lock()
	h.lab.procs = append(h.lab.procs, p)
	h.lab.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the exit code is in ProcessState
		close(p.done)
	}()
	return p
}

// Pid returns the process ID of the program.
func (p *Proc) Pid() int { return p.cmd.Process.Pid }

// Worker returns the process ID of the worker of a tunnel that was started as root, which is a
// child process. For any other program it is Pid.
func (p *Proc) Worker() int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is valid
	for _, stat := range stats {
		text, _ := os.ReadFile(stat) // it may have ended
		pid, rest, _ := strings.Cut(string(text), " (tunnel-worker) ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(p.Pid()) {
			if n, err := strconv.Atoi(pid); err == nil {
				return n
			}
		}
	}
	return p.Pid()
}

// Stdout returns the program's stdout so far.
func (p *Proc) Stdout() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stdout.String()
}

// Stderr returns the program's stderr so far.
func (p *Proc) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// Exited reports whether the program has ended.
func (p *Proc) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// WaitFor waits until a line of stdout or stderr contains substr, and returns that line. It fails
// the test if the program ends without such a line, or after d.
func (p *Proc) WaitFor(substr string, d time.Duration) string {
	p.t.Helper()
	return p.WaitForNth(substr, 1, d)
}

// WaitForNth is WaitFor for the nth such line of either stream, counted from 1.
func (p *Proc) WaitForNth(substr string, n int, d time.Duration) string {
	p.t.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		ended := p.Exited() // before find, so that the last lines are seen
		line, changed := p.find(substr, n)
		if line != "" {
			return line
		}
		if ended {
			p.t.Fatalf("%s: ended with code %d before line %d with %q\n%s", p.name,
				p.cmd.ProcessState.ExitCode(), n, substr, p.dump())
		}
		select {
		case <-changed:
		case <-p.done:
		case <-timeout.C:
			p.t.Fatalf("%s: no line %d with %q within %v\n%s", p.name, n, substr, d, p.dump())
		}
	}
}

// find returns the nth complete line with substr, and a channel that is closed when there is more
// output.
func (p *Proc) find(substr string, n int) (line string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range []string{p.stdout.String(), p.stderr.String()} {
		seen := 0
		for l := range strings.Lines(text) {
			if strings.HasSuffix(l, "\n") && strings.Contains(l, substr) {
				if seen++; seen == n {
					return strings.TrimSuffix(l, "\n"), p.changed
				}
			}
		}
	}
	return "", p.changed
}

// Signal sends a signal to the program, unless it has ended. SIGSTOP and SIGCONT also go to its
// worker, as a shell sends them to the whole job.
func (p *Proc) Signal(sig os.Signal) {
	p.t.Helper()
	if s, ok := sig.(syscall.Signal); ok && (s == syscall.SIGSTOP || s == syscall.SIGCONT) {
		if pid := p.Worker(); pid != p.Pid() {
			_ = syscall.Kill(pid, s) // it may have ended
		}
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !p.Exited() {
		select {
		case <-p.done: // it has ended meanwhile
		case <-time.After(killWait):
			p.t.Fatalf("%s: signal %v: %v", p.name, sig, err)
		}
	}
}

// Wait waits until the program has ended and returns its exit code, -1 if a signal has ended it. It
// fails the test after d.
func (p *Proc) Wait(d time.Duration) (code int) {
	p.t.Helper()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.t.Fatalf("%s: still runs after %v\n%s", p.name, d, p.dump())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Kill ends the program with SIGKILL and waits until it has ended. It may be called at any time and
// more than once.
func (p *Proc) Kill() {
	p.t.Helper()
	if p.Exited() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended
	<-p.done
}

// dump returns the end of the program's output, for the log of a failed test.
func (p *Proc) dump() string {
	return fmt.Sprintf("--- %s\n--- stdout:\n%s--- stderr:\n%s---", p.name, tail(p.Stdout()),
		tail(p.Stderr()))
}

// tail returns the last dumpLimit bytes of a text.
func tail(text string) string {
	if len(text) <= dumpLimit {
		return text
	}
	return "…" + text[len(text)-dumpLimit:]
}

// stream is one of a Proc's output streams.
type stream struct {
	p   *Proc
	buf *bytes.Buffer // guarded by p.mu
}

func (s *stream) Write(b []byte) (int, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	close(s.p.changed)
	s.p.changed = make(chan struct{})
	return s.buf.Write(b)
}
