package dns

import (
	"context"
	"errors"
	"time"

	"tunnel/cmdrun"
	"tunnel/journal"
)

// lookTimeout bounds a look, which takes 50 ms. The end of a run waits for it.
const lookTimeout = 4 * time.Second

// look returns what a command prints that changes nothing, or nil if the command fails, is not
// installed, or in a dry run: there is then nothing to be found. The error is that it is not known.
func look(m journal.Machine, c cmdrun.Command) ([]byte, error) {
	if cmdrun.IsDry(m.Run) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	out, err := m.Run.Run(ctx, c)
	var failed *cmdrun.Error
	if cmdrun.IsMissing(err) || errors.As(err, &failed) && failed.ExitCode > 0 {
		return nil, nil
	}
	return out, err
}
