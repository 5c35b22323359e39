package cmdrun_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
)

// TestExecInput has a program read its input, which the log shows.
func TestExecInput(t *testing.T) {
	var out bytes.Buffer
	run := cmdrun.NewExec(slog.New(slog.NewTextHandler(&out, nil)))
	const text = "first\nsecond\n"
	got, err := run.Run(t.Context(), cmdrun.Command{Program: "cat", Input: text})
	if err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	if want := `cmd=cat input="first\nsecond\n"`; !strings.Contains(out.String(), want) {
		t.Errorf("the log lacks %s: %s", want, &out)
	}
	// More than a pipe holds, for a program that does not read it.
	if _, err := run.Run(t.Context(), cmdrun.Command{Program: "true",
		Input: strings.Repeat(text, 100_000)}); err != nil {
		t.Errorf("input that is not read: %v", err)
	}
}

// TestExecDo has this process do what the program would: the program is shown, and not run.
func TestExecDo(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	run := cmdrun.NewExec(slog.New(slog.NewTextHandler(&out, nil)))
	done := 0
	c := cmdrun.Command{Program: "sysctl", Args: []string{"-w", "a.b=1"},
		Do: func() error { done++; return nil }}
	if _, err := run.Run(t.Context(), c); err != nil || done != 1 ||
		!strings.Contains(out.String(), `cmd="sysctl -w a.b=1"`) {
		t.Errorf("done %d times, %v, log %s", done, err, &out)
	}
	c.Do = func() error { return unix.EROFS }
	_, err := run.Run(t.Context(), c)
	if !errors.Is(err, unix.EROFS) || cmdrun.Uncertain(err) ||
		err.Error() != "sysctl -w a.b=1: read-only file system" {
		t.Errorf("%v", err)
	}
	var printed bytes.Buffer
	if _, err := (cmdrun.DryRun{W: &printed}).Run(t.Context(), c); err != nil ||
		printed.String() != "sysctl -w a.b=1\n" {
		t.Errorf("a dry run: %v, %s", err, &printed)
	}
}

func TestTyped(t *testing.T) {
	c := cmdrun.Command{Program: "nft", Args: []string{"-f", "-"}, Input: "table inet x\n"}
	const want = "nft -f - <<'EOF'\ntable inet x\nEOF"
	if got := c.Typed(); got != want || c.String() != "nft -f -" {
		t.Errorf("got %s, %s", got, c)
	}
}

// TestErrorIsShort has nft repeat much of its input.
func TestErrorIsShort(t *testing.T) {
	err := &cmdrun.Error{
		Command: cmdrun.Command{Program: "nft", Args: []string{"-f", "-"}, Input: "x"}, ExitCode: 1,
		Stderr: "Error: No such file or directory\n" + strings.Repeat("10.1.1.0/24, é", 1000),
		Err:    errors.New("exit status 1"),
	}
	if text := err.Error(); len(text) > 600 || strings.Contains(text, "\n") ||
		!strings.HasPrefix(text, "nft -f -: Error: No such file") ||
		!strings.HasSuffix(text, "… (exit code 1)") {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		t.Error("not told apart")
	}
}
