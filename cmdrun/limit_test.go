package cmdrun

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestExecBounded is about programs that write without end, on either output.
func TestExecBounded(t *testing.T) {
	run := NewExec(nil)
	out, err := run.Run(t.Context(), Command{Program: "sh",
		Args: []string{"-c", "yes | head -c 12000000"}})
	if !errors.Is(err, errTooLong) || !Uncertain(err) || out != nil {
		t.Errorf("stdout: %d bytes, %v", len(out), err)
	}
	_, err = run.Run(t.Context(), Command{Program: "sh",
		Args: []string{"-c", "yes | head -c 12000000 >&2; exit 3"}})
	var failed *Error
	if !errors.As(err, &failed) || failed.ExitCode != 3 || len(failed.Stderr) > maxOutput ||
		!strings.HasPrefix(failed.Stderr, "y\ny\n") {
		t.Errorf("stderr: %.100v", err)
	}
	out, err = run.Run(t.Context(), Command{Program: "sh",
		Args: []string{"-c", "yes | head -c 12000000 >&2; echo done"}})
	if err != nil || string(out) != "done\n" {
		t.Errorf("stderr of a command that succeeds: %q, %.100v", out, err)
	}
}

// TestExecTimeout has a command end although the caller sets no limit.
func TestExecTimeout(t *testing.T) {
	run := NewExec(nil)
	run.timeout = 100 * time.Millisecond
	_, err := run.Run(t.Context(), Command{Program: "sleep", Args: []string{"600"}})
	if !errors.Is(err, context.DeadlineExceeded) || !Uncertain(err) ||
		!strings.Contains(err.Error(), "sleep did not end in time, and was killed") {
		t.Errorf("%v", err)
	}
}
