package statedir

import (
	"path/filepath"

	"tunnel/cli/failure"
	"tunnel/state"
)

// The server's state file, and its buckets.
const (
	FileName     = "tunnel.db"
	BucketTokens = "token"
	BucketLeases = "lease"
	BucketAudit  = "audit" // entries that wait for a hub to write them
)

// OpenFile opens the state file in dir, with state.Open or state.Try.
func OpenFile(open func(string) (*state.File, error), dir string) (*state.File, error) {
	file, err := open(filepath.Join(dir, FileName))
	if err != nil && failure.Of(err).Step != failure.StepState {
		err = failure.New(failure.StepState, err,
			"give a directory that you may write to with --state DIR")
	}
	return file, err
}
