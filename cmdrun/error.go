package cmdrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"
)

// Values of Error.ExitCode that no program returns.
const (
	Killed     = -1 // what os.ProcessState says of a process that a signal ended
	NotStarted = -2
)

// Error is a command that failed. Its text is one line.
type Error struct {
	Command Command
	// ExitCode is the program's own, Killed or NotStarted. That of ip is 1 for wrong usage or a
	// missing device and 2 when the kernel refused.
	ExitCode int
	// Stderr is what the program wrote there, trimmed.
	Stderr string
	// Err is the cause: an *exec.ExitError, exec.ErrNotFound, the context's error, an
	// *ipcmd.UnsuitableError.
	Err error
}

func (e *Error) Error() string {
	text := e.Command.String() + ": "
	switch {
	case errors.Is(e.Err, exec.ErrNotFound):
		return text + e.Command.Program + " is not in PATH: install " + packageOf(e.Command.Program)
	case e.ExitCode == Killed && errors.Is(e.Err, context.DeadlineExceeded):
		return text + e.Command.Program + " did not end in time, and was killed: run `" +
			probeOf(e.Command.Program) +
			"` by hand to see whether that hangs too"
	case e.ExitCode > 0 && e.Stderr != "":
		return text + shorten(strings.Join(strings.Fields(e.Stderr), " ")) +
			fmt.Sprintf(" (exit code %d)", e.ExitCode)
	default:
		return fmt.Sprint(text, e.Err)
	}
}

// maxStderr bounds what Error.Error repeats of stderr, in bytes: nft repeats whole lines of its
// input.
const maxStderr = 500

func shorten(text string) string {
	if len(text) <= maxStderr {
		return text
	}
	return strings.ToValidUTF8(text[:maxStderr], "") + "…"
}

// packageOf returns the distributions' package that has a program.
func packageOf(program string) string {
	switch program {
	case "ip":
		return "iproute2"
	case "nft":
		return "nftables"
	case "resolvectl":
		return "systemd-resolved"
	}
	return program
}

// probeOf returns a harmless command of a program that a person can try.
func probeOf(program string) string {
	if program == "ip" {
		return "ip link"
	}
	return program + " --version"
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is tell the kernel's refusals apart: fs.ErrPermission (no CAP_NET_ADMIN),
// fs.ErrExist and fs.ErrNotExist.
func (e *Error) Is(target error) bool {
	switch {
	case e.ExitCode <= 0:
		return false
	case errors.Is(target, fs.ErrPermission):
		return strings.Contains(e.Stderr, "Operation not permitted")
	case errors.Is(target, fs.ErrExist):
		return strings.Contains(e.Stderr, "File exists") ||
			strings.Contains(e.Stderr, "already assigned")
	case errors.Is(target, fs.ErrNotExist):
		return strings.Contains(e.Stderr, "No such file or directory")
	default:
		return false
	}
}

// IsMissing reports whether err says that the program is not installed on this machine.
func IsMissing(err error) bool { return errors.Is(err, exec.ErrNotFound) }

// Uncertain reports whether err leaves open that the command has made its change: the program was
// killed while it ran, or was done when waiting for it failed.
func Uncertain(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && (failed.ExitCode == Killed || failed.ExitCode == 0)
}

// Refused reports whether err says that a command has run and failed.
func Refused(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.ExitCode > 0
}
