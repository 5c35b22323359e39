package ipcmd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"tunnel/cmdrun"
)

// Oldest is the oldest release of iproute2 that this program is tested with, that of Debian 11.
const Oldest = "5.10"

// UnsuitableError means that ip does not know a command: it is too old, or BusyBox's.
type UnsuitableError struct {
	Found string // "iproute2-ss190107", "BusyBox v1.35.0"; "" if not known
}

func (e *UnsuitableError) Error() string {
	found := "is not that of iproute2"
	if e.Found != "" {
		found = "is " + e.Found
	}
	return fmt.Sprintf("the program ip %s, which does not know this command: "+
		"install the package iproute2 (Fedora: iproute), %s or later", found, Oldest)
}

// runner explains why ip did not understand a command.
type runner struct{ next cmdrun.Runner }

// NewRunner returns a Runner that runs commands by next. If ip does not understand a command, it
// runs `ip -V`: if the version is the reason, the error's cause is an *UnsuitableError.
func NewRunner(next cmdrun.Runner) cmdrun.Runner { return runner{next} }

// Run implements cmdrun.Runner.
func (r runner) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	out, err := r.next.Run(ctx, c)
	var failed *cmdrun.Error
	if c.Program != program || !errors.As(err, &failed) ||
		!misunderstood(failed.ExitCode, failed.Stderr) {
		return out, err
	}
	if why := r.unsuitable(ctx); why != nil {
		failed.Err, failed.Stderr = why, "" // why replaces the usage that ip printed
	}
	return out, err
}

// versionTimeout bounds `ip -V`.
const versionTimeout = 5 * time.Second

// unsuitable returns an *UnsuitableError, or nil if ip is an iproute2 that is new enough.
func (r runner) unsuitable(ctx context.Context) error {
	_, err := Version(ctx, r.next)
	var unsuitable *UnsuitableError
	if errors.As(err, &unsuitable) {
		return unsuitable
	}
	return nil
}

// Version returns the version of the program ip, such as "iproute2-6.1.0". If that is too old, or
// not of iproute2, the error is an *UnsuitableError, else that of the command.
func Version(ctx context.Context, run cmdrun.Runner) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := run.Run(ctx, command("-V"))
	text := string(out)
	var failed *cmdrun.Error
	if errors.As(err, &failed) { // BusyBox answers with its usage on stderr, and exit code 1
		if failed.ExitCode < 0 {
			return "", err
		}
		text += failed.Stderr
	}
	// Before 5.6 the version was a date, as in iproute2-ss190107 for 4.20. Debian's 5.10 prints
	// 5.9.0.
	name := regexp.MustCompile(`iproute2-[\w.-]+|BusyBox v[\w.]+`).FindString(text)
	var major, minor int
	if _, err := fmt.Sscanf(name, "iproute2-%d.%d", &major, &minor); err == nil &&
		(major > 5 || major == 5 && minor >= 9) {
		return name, nil
	}
	return name, &UnsuitableError{Found: name}
}

// misunderstood reports whether ip did not understand its arguments. If the kernel refuses a
// command the exit code is 2; the texts are those of iproute2 (lib/utils.c, ip/ip.c) and BusyBox.
func misunderstood(code int, stderr string) bool {
	if code <= 0 || code == 2 {
		return false
	}
	for _, text := range []string{
		"Usage: ip", `is unknown, try "ip`, `is garbage`, `is a garbage`, " is expected rather than ",
		"invalid argument '",
		"unknown option", "unrecognized option", "invalid option", "applet not found",
	} {
		if strings.Contains(stderr, text) {
			return true
		}
	}
	return false
}
