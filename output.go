package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"tunnel/privsep"
	"tunnel/spool"
)

// output is stdout and stderr of this process. A process that was split has two of them, each for its own lines.
type output struct {
	stdout, stderr *renamer
}

// newOutput returns the output to what this process was started with, or a test gives. Close it.
func newOutput(stdout, stderr io.Writer) *output {
	return &output{&renamer{w: spool.New(stdout)}, &renamer{w: spool.New(stderr)}}
}

// detach lets nothing wait for a reader any more.
func (o *output) detach() {
	o.stdout.w.Detach()
	o.stderr.w.Detach()
}

// close writes what can be written of the last lines within a second.
func (o *output) close() {
	var group sync.WaitGroup
	group.Go(o.stdout.w.Close)
	group.Go(o.stderr.w.Close)
	group.Wait()
}

// orphan ends a worker whose parent has ended.
func (o *output) orphan(err error) {
	o.detach()
	_, _ = fmt.Fprintf(o.stderr, "tunnel: internal: %v\n", privsep.Lost(err))
	o.close()
	os.Exit(1)
}

// detachOutput is for the commands that carry packets: neither these nor a signal wait for somebody who reads lines. The
// others print what they were asked for, to a pager too.
func detachOutput(c *cli.Context) {
	if o, ok := c.App.Metadata[metaOutput].(*output); ok {
		o.detach()
	}
}

// noticeLost has the log say in its own format how many lines of it were left out.
func noticeLost(c *cli.Context, handler func(io.Writer, *slog.HandlerOptions) slog.Handler) {
	o, ok := c.App.Metadata[metaOutput].(*output)
	if !ok {
		return
	}
	o.stderr.w.SetNotice(func(lines uint64) []byte {
		var line bytes.Buffer
		slog.New(handler(&line, nil)).LogAttrs(context.Background(), slog.LevelWarn, "lines left out, for nobody read them", slog.Uint64("lines", lines))
		return line.Bytes()
	})
}

// renamer gives the state directory the name that a person knows.
type renamer struct {
	w     *spool.Writer
	names atomic.Pointer[[2][]byte] // ours, a person's
}

func (r *renamer) Write(b []byte) (int, error) {
	text := b
	if names := r.names.Load(); names != nil {
		text = bytes.ReplaceAll(b, names[0], names[1])
	}
	if _, err := r.w.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}
