package machine

import (
	"context"
	"os"

	"tunnel/cli/invocation"
)

// now returns the configuration that holds.
func (d *direct) now() *invocation.Invocation { return d.current.Get() }

// Reread implements Machine.
func (d *direct) Reread(context.Context) (*invocation.Invocation, error) {
	next, err := d.current.Reread(nil)
	if err == nil {
		next.Warn(d.log)
	}
	return next, err
}

// OpenConfig implements privsep.Machine.
func (d *direct) OpenConfig() (*os.File, error) {
	next, err := d.Reread(context.Background())
	if err != nil {
		return nil, err
	}
	return next.CopyOfFile()
}

// Adopt implements Machine, and privsep.Machine.
func (d *direct) Adopt(context.Context) error { return d.current.Adopt() }

// Reload implements Machine.
func (d *direct) Reload() <-chan struct{} { return invocation.Reload(d.now().CLI) }

func (h *confined) now() *invocation.Invocation { return h.current.Get() }

// Reread implements Machine: the parent reads the file, and judges it.
func (h *confined) Reread(ctx context.Context) (*invocation.Invocation, error) {
	file, err := h.OpenConfig(ctx)
	if err != nil {
		return nil, err
	}
	return h.current.Reread(func(string) (*os.File, error) { return file, nil })
}

// Adopt implements Machine: the parent first, which has to allow what follows.
func (h *confined) Adopt(ctx context.Context) error {
	if err := h.Worker.Adopt(ctx); err != nil {
		return err
	}
	return h.current.Adopt()
}
