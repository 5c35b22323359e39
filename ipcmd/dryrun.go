package ipcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrNoLookup is what a dry run answers to a look-up that it cannot make; the caller then assumes nothing.
var ErrNoLookup = errors.New("no look-up in a dry run")

// DryRun prints what would change, one command a line, and changes nothing. It needs no privileges.
type DryRun struct {
	// W receives the lines.
	W io.Writer
	// Lookup answers the look-ups. When it is nil or fails they end with ErrNoLookup.
	Lookup Runner
}

// Run implements Runner.
func (d DryRun) Run(ctx context.Context, c Command) ([]byte, error) {
	if c.Mutates() {
		if _, err := fmt.Fprintln(d.W, c); err != nil {
			return nil, &Error{Command: c, ExitCode: notStarted, Err: err}
		}
		return nil, nil
	}
	if d.Lookup == nil {
		return nil, &Error{Command: c, ExitCode: notStarted, Err: ErrNoLookup}
	}
	out, err := d.Lookup.Run(ctx, c)
	if err != nil {
		return nil, &Error{Command: c, ExitCode: notStarted, Err: fmt.Errorf("%w: %w", ErrNoLookup, err)}
	}
	return out, nil
}
