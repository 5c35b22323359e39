package connect

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/statedir"
	"tunnel/client/store"
	"tunnel/transport/ws"
)

// openKept opens the files that a client keeps between runs: its session, and the credentials from
// join tokens. A dialer with a credential for its server uses it instead of its join token, or of
// none, and one without uses that which its join token got under another URL or for another device:
// the join token itself is used up. If another client uses the files, this one runs without them
// and gets an address of its own.
func openKept(dir, dev string, dialers []*ws.Dialer, log *slog.Logger) (*store.Sessions,
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
	all := sync.OnceValue(func() []*store.Credentials {
		return append([]*store.Credentials{credentials}, otherDevices(dir, dev)...)
	})
	for _, d := range dialers {
		kept := credentials.Get(d.URL.String())
		switch {
		case kept != "" && (d.Token == "" || auth.ID(d.Token) != "" &&
			auth.ID(d.Token) == auth.ID(kept)):
			d.Token = kept
		case auth.IsJoin(d.Token):
			d.Token = cmp.Or(exchanged(d, all()), d.Token)
		}
	}
	return session, credentials, nil
}

// exchanged returns the credential that d's join token got, "" if none of all has it. One from a
// server with wss:// is not sent by ws://.
func exchanged(d *ws.Dialer, all []*store.Credentials) string {
	for _, c := range all {
		found := c.Find(func(url, kept string) bool {
			clear := d.URL.Scheme == "ws" && strings.HasPrefix(url, "wss:")
			return !clear && auth.Exchanges(d.Token, kept)
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// otherDevices returns the credentials in dir that runs for other devices got. What is unreadable
// is left out: it belongs to other runs.
func otherDevices(dir, dev string) (all []*store.Credentials) {
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		name := file.Name()
		if match, _ := filepath.Match("credential-*.json", name); !match ||
			name == "credential-"+dev+".json" {
			continue
		}
		if c, err := store.OpenCredentials(filepath.Join(dir, name)); err == nil {
			all = append(all, c)
		}
	}
	return all
}
