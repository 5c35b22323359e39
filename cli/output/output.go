// Package output is stdout and stderr of the program: a reader that is slow or gone blocks nothing.
package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/privsep"
	"tunnel/spool"
)

// Output is stdout and stderr of this process. A worker's are pipes that its parent reads.
type Output struct {
	Stdout, Stderr *Stream
	Null           bool // stdout is /dev/null, which Go's runtime opens for a closed one
}

// outputLimit bounds the time to write the last lines of a process to a slow reader. Half as much
// for stdout leaves time to report on stderr what was lost.
const outputLimit = 700 * time.Millisecond

// New returns the Output to the streams of the process, or of a test. The caller closes it.
func New(stdout, stderr io.Writer) *Output {
	return &Output{
		Stdout: &Stream{Spool: spool.New(stdout)},
		Stderr: &Stream{Spool: spool.New(stderr), redact: true},
		Null:   isNull(stdout),
	}
}

// Detach is for commands that carry packets: they never wait for a reader, and a reader that goes
// away does not end them. Other commands wait for theirs, as a pager expects.
func (o *Output) Detach() {
	KeepPipe()
	o.Stdout.Spool.Detach()
	o.Stderr.Spool.Detach()
}

// Hasten ends the waiting for readers, for the end of a command.
func (o *Output) Hasten() {
	o.Stdout.Spool.Hasten()
	o.Stderr.Spool.Hasten()
}

// Close writes as many of the last lines as possible within outputLimit.
func (o *Output) Close() {
	o.Hasten()
	now := time.Now()
	o.Stdout.Spool.Close(now.Add(outputLimit / 2))
	o.Stderr.Spool.Close(now.Add(outputLimit))
}

// Orphan ends a worker whose parent has ended.
func (o *Output) Orphan(err error) {
	o.Hasten()
	_, _ = fmt.Fprintf(o.Stderr, "tunnel: internal: %v\n", privsep.Lost(err))
	o.Close()
	os.Exit(1)
}

// NoticeDropped reports dropped lines of the log in the log's own format.
func (o *Output) NoticeDropped(handler func(io.Writer, *slog.HandlerOptions) slog.Handler) {
	o.Stderr.Spool.SetNotice(func(lines uint64, why error) []byte {
		var line bytes.Buffer
		slog.New(handler(&line, nil)).LogAttrs(context.Background(), slog.LevelWarn,
			"log lines dropped",
			slog.Uint64("lines", lines), slog.Any("reason", why))
		return line.Bytes()
	})
}

// KeepPipe lets this process continue when a reader of its output goes away: SIGPIPE, which ends a
// filter, would leave an action half done.
func KeepPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// isNull reports whether w is /dev/null.
func isNull(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	is, err := file.Stat()
	if err != nil || is.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	stat, ok := is.Sys().(*syscall.Stat_t)
	device := uint64(stat.Rdev) //nolint:unconvert // 32 bits on some machines
	return ok && device == unix.Mkdev(1, 3)
}

// A Stream replaces the internal name of the state directory by the one that the user knows. That
// of stderr, to which failures and the log go, also hides tokens, which only stdout may show.
type Stream struct {
	Spool  *spool.Writer
	redact bool
	Names  atomic.Pointer[[2][]byte]       // internal, user's
	failed atomic.Pointer[failure.Failure] // the first write that failed
}

// Write implements io.Writer.
func (r *Stream) Write(b []byte) (int, error) {
	text := b
	if names := r.Names.Load(); names != nil {
		text = bytes.ReplaceAll(b, names[0], names[1])
	}
	if r.redact {
		text = auth.Redact(text)
	}
	if _, err := r.Spool.Write(text); err != nil {
		f := &failure.Failure{Step: failure.StepOutput, Err: err,
			Advice: "write to a place with room"}
		r.failed.CompareAndSwap(nil, f)
		return 0, f
	}
	return len(b), nil
}

// WithoutTokens returns a writer to w that hides tokens as stderr does. It is for lines on stdout
// that have a server's words in them: the server knows the token.
func WithoutTokens(w io.Writer) io.Writer { return redacted{w} }

type redacted struct{ io.Writer }

// Write implements io.Writer.
func (r redacted) Write(b []byte) (int, error) {
	if _, err := r.Writer.Write(auth.Redact(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Err returns why not all output was written; nil if it was, or if its reader closed the pipe. Most
// callers that print ignore errors.
func (r *Stream) Err() error {
	if f := r.failed.Load(); f != nil && !errors.Is(f, syscall.EPIPE) {
		return f
	}
	return nil
}
