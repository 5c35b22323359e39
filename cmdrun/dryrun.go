package cmdrun

import (
	"context"
	"fmt"
	"io"
)

// DryRun prints the commands that would change something, as Command.Typed, and changes nothing. It
// needs no privileges.
type DryRun struct {
	// W receives the lines.
	W io.Writer
}

// Run implements Runner.
func (d DryRun) Run(_ context.Context, c Command) ([]byte, error) {
	if _, err := fmt.Fprintln(d.W, c.Typed()); err != nil {
		return nil, &Error{Command: c, ExitCode: NotStarted, Err: err}
	}
	return nil, nil
}

// IsDry reports whether r changes nothing, so that what it has run is not to be found.
func IsDry(r Runner) bool {
	_, dry := r.(DryRun)
	return dry
}
