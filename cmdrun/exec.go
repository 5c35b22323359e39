package cmdrun

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"strings"
	"time"
)

// Exec runs commands for real. It is safe for concurrent use.
type Exec struct {
	log     *slog.Logger
	timeout time.Duration
}

// timeout bounds each command. It is long enough for a machine under load, and the caller's context
// may end it earlier.
const timeout = 30 * time.Second

// NewExec returns a Runner that logs every command at info, one that only reads at debug; a nil log
// is silent.
func NewExec(log *slog.Logger) *Exec {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Exec{log: log, timeout: timeout}
}

// pipeDelay bounds how long Run waits for pipes that a killed child's children could still hold
// open.
const pipeDelay = time.Second

// Run implements Runner. The command is killed when ctx ends, or after 30 seconds; the Error's
// ExitCode is then -1, and whether the command has made its change is unknown.
func (e *Exec) Run(ctx context.Context, c Command) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Command: c, ExitCode: NotStarted, Err: err}
	}
	for _, each := range c.Each {
		e.log.InfoContext(ctx, "run", "cmd", each.String())
	}
	switch {
	case c.Routine, len(c.Each) > 0:
		e.log.DebugContext(ctx, "run", "cmd", c.String())
	case c.Input == "":
		e.log.InfoContext(ctx, "run", "cmd", c.String())
	default:
		e.log.InfoContext(ctx, "run", "cmd", c.String(), "input", c.Input)
	}
	if c.Do != nil {
		if err := c.Do(); err != nil {
			return nil, &Error{Command: c, ExitCode: NotStarted, Err: err}
		}
		return nil, nil
	}
	path, err := Find(c.Program)
	if err != nil {
		return nil, &Error{Command: c, ExitCode: NotStarted, Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr // Stdin nil is /dev/null
	if c.Input != "" {
		cmd.Stdin = strings.NewReader(c.Input)
	}
	// Nothing of the caller's environment: a child that inherits CAP_NET_ADMIN must not load what
	// LD_PRELOAD names.
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC0"}
	cmd.WaitDelay = pipeDelay
	cmd.SysProcAttr = attributes()
	if err := start(cmd); err != nil {
		return nil, &Error{Command: c, ExitCode: NotStarted, Err: err}
	}
	err = cmd.Wait()
	code := cmd.ProcessState.ExitCode()
	switch {
	case code == 0 && err != nil && errors.Is(err, ctx.Err()):
		err = nil // ctx ended at the moment at which the command was done: its change is made
	case err != nil && ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && stdout.cut:
		err = errTooLong
	}
	if err != nil {
		return nil, &Error{Command: c, ExitCode: code,
			Stderr: strings.TrimSpace(stderr.kept.String()), Err: err}
	}
	return stdout.kept.Bytes(), nil
}

// maxOutput bounds what is kept of each of a command's outputs, in bytes.
const maxOutput = 4 << 20

var errTooLong = errors.New("it wrote more than 4 MiB")

// bounded keeps the first maxOutput bytes that are written to it.
type bounded struct {
	kept bytes.Buffer // no embedded field: io.Copy would find its ReadFrom
	cut  bool         // there was more
}

func (b *bounded) Write(p []byte) (int, error) {
	kept := p[:min(len(p), maxOutput-b.kept.Len())]
	b.cut = b.cut || len(kept) < len(p)
	_, _ = b.kept.Write(kept) // never fails
	return len(p), nil
}
