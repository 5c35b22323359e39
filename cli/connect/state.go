package cli

import (
	"errors"
	"log/slog"
	"path/filepath"

	"tunnel/auth"
	"tunnel/client"
	"tunnel/transport"
)

// openKept opens the files that a client keeps for its next run: its session, and the credentials that it got for join
// tokens. With a credential for its server, a dialer uses that in place of its join token, or of none. That another client
// has the files is no failure: this one then gets an address of its own.
func openKept(dir, dev string, dialers []*transport.Dialer, log *slog.Logger) (*client.SessionFile, *client.Credentials, error) {
	session, err := client.OpenSession(filepath.Join(dir, "session-"+dev+".json"))
	switch {
	case errors.Is(err, client.ErrInUse):
		log.Info("this run's session is not kept: give it its own --state", "err", err)
		return nil, nil, nil
	case err != nil:
		return nil, nil, fail(stepState, err, stateAdvice)
	}
	credentials, err := client.OpenCredentials(filepath.Join(dir, "credential-"+dev+".json"))
	if err != nil {
		session.Close()
		return nil, nil, fail(stepState, err, "repair or delete it, or "+stateAdvice)
	}
	for _, d := range dialers {
		kept := credentials.Get(d.URL.String())
		if kept != "" && (d.Token == "" || auth.ID(d.Token) != "" && auth.ID(d.Token) == auth.ID(kept)) {
			d.Token = kept
		}
	}
	return session, credentials, nil
}
