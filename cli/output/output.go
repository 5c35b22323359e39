package cli

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

	"tunnel/privsep"
	"tunnel/spool"
)

// output is stdout and stderr of this process. A worker's are pipes, which its parent reads.
type output struct {
	stdout, stderr *renamer
	null           bool // stdout is /dev/null, as Go's runtime makes a closed one
}

// outputLimit bounds the time to write the last lines of a process to a slow reader. Half as much for
// stdout leaves time to say on stderr what stdout did not take.
const outputLimit = 700 * time.Millisecond

// newOutput returns the output to what this process was started with, or a test gives. The caller
// closes it.
func newOutput(stdout, stderr io.Writer) *output {
	return &output{
		stdout: &renamer{w: spool.New(stdout)}, stderr: &renamer{w: spool.New(stderr)}, null: isNull(stdout),
	}
}

// detach is for the commands that carry packets: neither these nor a signal wait for somebody who reads
// lines, and a reader who goes away ends nothing. The others print what they were asked for, also to a
// pager.
func (o *output) detach() {
	keepPipe()
	o.stdout.w.Detach()
	o.stderr.w.Detach()
}

// hasten is for the end: what is left of a command's output is not waited for any more.
func (o *output) hasten() {
	o.stdout.w.Hasten()
	o.stderr.w.Hasten()
}

// close writes what can be written of the last lines within outputLimit.
func (o *output) close() {
	o.hasten()
	now := time.Now()
	o.stdout.w.Close(now.Add(outputLimit / 2))
	o.stderr.w.Close(now.Add(outputLimit))
}

// orphan ends a worker whose parent has ended.
func (o *output) orphan(err error) {
	o.hasten()
	_, _ = fmt.Fprintf(o.stderr, "tunnel: internal: %v\n", privsep.Lost(err))
	o.close()
	os.Exit(1)
}

// noticeDropped has the log say in its own format how many lines of it were dropped.
func (o *output) noticeDropped(handler func(io.Writer, *slog.HandlerOptions) slog.Handler) {
	o.stderr.w.SetNotice(func(lines uint64, why error) []byte {
		var line bytes.Buffer
		slog.New(handler(&line, nil)).LogAttrs(context.Background(), slog.LevelWarn, "log lines dropped",
			slog.Uint64("lines", lines), slog.Any("reason", why))
		return line.Bytes()
	})
}

// keepPipe lets this process go on when a reader of its output goes away: SIGPIPE, which ends a filter,
// would leave half of something done.
func keepPipe() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

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
	return ok && uint64(stat.Rdev) == unix.Mkdev(1, 3) //nolint:unconvert // 32 bits on some machines
}

// renamer gives the state directory the name that a person knows.
type renamer struct {
	w      *spool.Writer
	names  atomic.Pointer[[2][]byte] // ours, a person's
	failed atomic.Pointer[failure]   // the first write that did
}

func (r *renamer) Write(b []byte) (int, error) {
	text := b
	if names := r.names.Load(); names != nil {
		text = bytes.ReplaceAll(b, names[0], names[1])
	}
	if _, err := r.w.Write(text); err != nil {
		f := &failure{step: stepOutput, err: err, advice: "give it a place that takes it"}
		r.failed.CompareAndSwap(nil, f)
		return 0, f
	}
	return len(b), nil
}

// err returns why not all of it was written, nil if it was, or if its reader wanted no more. Much of
// what prints does not look at errors.
func (r *renamer) err() error {
	if f := r.failed.Load(); f != nil && !errors.Is(f, syscall.EPIPE) {
		return f
	}
	return nil
}
