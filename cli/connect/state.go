package connect

import (
	"errors"
	"log/slog"
	"path/filepath"

	"tunnel/cli/dialers"
	"tunnel/cli/failure"
	"tunnel/cli/statedir"
	"tunnel/client/store"
	"tunnel/transport/ws"
)

// openKept opens the files that a client keeps between runs: its session, and the credentials from
// join tokens, which the dialers get. If another client uses the files, this one runs without them
// and gets an address of its own.
func openKept(dir, dev string, all []*ws.Dialer, log *slog.Logger) (*store.Sessions,
	*store.Credentials, error) {
	session, err := store.OpenSessions(filepath.Join(dir, "session-"+dev+".json"))
	switch {
	case errors.Is(err, store.ErrInUse):
		log.Info("this run's session is not saved: give it its own --state", "err", err)
		return nil, nil, nil
	case err != nil:
		return nil, nil, failure.New(failure.StepState, err, statedir.Advice)
	}
	credentials, err := store.OpenCredentials(filepath.Join(dir, "credential-"+dev+".json"))
	if err != nil {
		session.Close()
		return nil, nil, failure.New(failure.StepState, err,
			"repair or delete it, or "+statedir.Advice)
	}
	dialers.UseKept(dir, dev, credentials, all)
	return session, credentials, nil
}
