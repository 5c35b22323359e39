package ipcmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/exec"
	"strings"
	"time"
)

// Runner runs commands. It is the edge of the operating system: Exec is the real one, Recorder and DryRun are others.
type Runner interface {
	// Run runs c to its end and returns what it wrote to stdout. A failure is an *Error.
	Run(ctx context.Context, c Command) ([]byte, error)
}

// Exec runs commands for real, without a shell in between. It is safe for concurrent use.
type Exec struct {
	log *slog.Logger
}

// NewExec returns a Runner that logs every command at info; a nil log is silent.
func NewExec(log *slog.Logger) *Exec {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Exec{log: log}
}

// pipeDelay bounds how long Run waits for pipes that a killed child's children could still hold open.
const pipeDelay = time.Second

// Run implements Runner. When ctx ends first the child is killed; whether a change was made is then unknown, and the
// Error's ExitCode is -1.
func (e *Exec) Run(ctx context.Context, c Command) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Command: c, ExitCode: notStarted, Err: err}
	}
	e.log.InfoContext(ctx, "run", "cmd", c.String())
	path, err := findIP()
	if err != nil {
		return nil, &Error{Command: c, ExitCode: notStarted, Err: err}
	}
	done := start(ctx, path, c.Args...)
	if err := done.err; err != nil {
		text := strings.TrimSpace(done.stderr.String())
		failed := &Error{Command: c, ExitCode: done.code, Stderr: text, Err: err}
		if misunderstood(failed.ExitCode, failed.Stderr) {
			failed.Err = cmp.Or(unsuitable(ctx, path), err)
		}
		return nil, failed
	}
	return done.stdout.Bytes(), nil
}

// ended is a command that was run, or could not be.
type ended struct {
	stdout, stderr bytes.Buffer
	code           int // see Error.ExitCode
	err            error
}

// start runs the program at path to its end.
func start(ctx context.Context, path string, args ...string) *ended {
	e := new(ended)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr = &e.stdout, &e.stderr // Stdin nil is /dev/null
	// Nothing of the caller's environment: a child that inherits CAP_NET_ADMIN must not load what LD_PRELOAD names.
	cmd.Env = []string{"LC_ALL=C"}
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = attributes()
	if e.err = begin(cmd); e.err != nil {
		e.code = notStarted
		return e
	}
	e.err = cmd.Wait()
	e.code = cmd.ProcessState.ExitCode()
	// Wait returns ctx's error also when ctx ended at the very moment at which ip was done: then the change is made.
	if e.code == 0 && errors.Is(e.err, ctx.Err()) {
		e.err = nil
	} else if e.err != nil && ctx.Err() != nil {
		e.err = ctx.Err()
	}
	return e
}

const (
	killed     = -1 // what os.ProcessState says of a process that a signal ended
	notStarted = -2
)

// Error is a command that failed. Its text is one line.
type Error struct {
	Command Command
	// ExitCode is that of ip (1: usage or no such device, 2: the kernel refused), -1 when ip was killed and -2 when it
	// never ran.
	ExitCode int
	// Stderr is what ip wrote there, trimmed.
	Stderr string
	// Err is the cause: an *exec.ExitError, exec.ErrNotFound, an *UnsuitableError, the context's error.
	Err error
}

func (e *Error) Error() string {
	text := e.Command.String() + ": "
	switch {
	case errors.Is(e.Err, exec.ErrNotFound):
		return text + "ip is not in PATH: install iproute2"
	case errors.Is(e.Err, ErrUnsuitable):
		return text + e.Err.Error()
	case e.ExitCode == killed && errors.Is(e.Err, context.DeadlineExceeded):
		return text + "ip did not end in time, and was killed: run `ip link` by hand to see whether that hangs too"
	case e.ExitCode > 0 && e.Stderr != "":
		return text + strings.Join(strings.Fields(e.Stderr), " ") + fmt.Sprintf(" (exit code %d)", e.ExitCode)
	default:
		return fmt.Sprint(text, e.Err)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is tell the kernel's refusals apart: fs.ErrPermission (no CAP_NET_ADMIN) and fs.ErrExist.
func (e *Error) Is(target error) bool {
	switch {
	case e.ExitCode <= 0:
		return false
	case errors.Is(target, fs.ErrPermission):
		return strings.Contains(e.Stderr, "Operation not permitted")
	case errors.Is(target, fs.ErrExist):
		return strings.Contains(e.Stderr, "File exists") || strings.Contains(e.Stderr, "already assigned")
	default:
		return false
	}
}

// IsMissing reports whether err is that there is no ip on this machine.
func IsMissing(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// Uncertain reports whether err leaves it open that the command's change was made: ip was killed while it ran, or was
// done when waiting for it failed.
func Uncertain(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && (failed.ExitCode == killed || failed.ExitCode == 0)
}
