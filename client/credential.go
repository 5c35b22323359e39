package client

import (
	"errors"
	"fmt"

	"tunnel/client/store"
)

// ErrNotStored means that the session that would use a join token cannot be stored.
var ErrNotStored = errors.New("the join token is not used, because its session cannot be stored")

// prepare chooses a session for t, if it has none, and stores it. A join token is bound to the
// first session that uses it, so it must not be used by a session that cannot be stored: a later
// run could not join any more.
func (c *Client) prepare(t *endpoint) error {
	fresh := t.resume.Session == ""
	if fresh {
		t.resume.Session = store.NewSession()
	}
	switch joins := c.IsJoin(t.dialer.Token); {
	case joins && c.Session == nil:
		return fmt.Errorf("%w: %w", ErrNotStored, store.ErrNotKept)
	case joins:
		// writes nothing if it is stored already
		if err := c.Session.Save(t.url(), t.resume); err != nil {
			return fmt.Errorf("%w: %w", ErrNotStored, err)
		}
	case fresh:
		c.saveSession(t)
	}
	return nil
}

// Exchanges reports whether a client may replace token by credential: token is a join token, and
// credential has the form of one issued for it. The client does not rely on the server for this,
// because a hostile server could replace a valid token by a useless one, for all later runs.
type Exchanges func(token, credential string) bool

// exchange saves the credential that the server sent for a join token and uses it from now on. A
// credential that cannot be saved is not used: the server accepts the join token for this session
// until the credential is used.
func (c *Client) exchange(t *endpoint, credential string) {
	if credential == "" {
		return
	}
	if c.Exchanges == nil || !c.Exchanges(t.dialer.Token, credential) {
		c.Log.Warn("the server sent a credential although this client has no join token: ignored",
			"server", t.dialer.URL.Host)
		return
	}
	if err := c.Credentials.Keep(t.url(), credential); err != nil {
		c.Log.Warn("cannot save the credential for the join token: keep the join token", "err", err)
		return
	}
	t.dialer.Token = credential
}
