package client

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"

	"tunnel/client/store"
	"tunnel/transport"
)

// newSession returns 128 random bits as text. The client names its own session: a join token is
// used up by the session that it first comes with, and the answer that would tell the client of
// another may never arrive.
func newSession() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ErrNotStored says that a session cannot be stored that is about to use up a join token.
var ErrNotStored = errors.New("the join token is not used, because its session cannot be stored")

// prepare draws a session for t, if it has none, and stores it. A join token opens the server to
// that session only, so one that could not be stored must not use it up: no client could come with
// the token again.
func (c *Client) prepare(t *endpoint) error {
	fresh := t.resume.Session == ""
	if fresh {
		t.resume.Session = newSession()
	}
	switch joins := c.IsJoin != nil && c.IsJoin(t.dialer.Token); {
	case joins && c.Session == nil:
		return fmt.Errorf("%w: %w", ErrNotStored, store.ErrNotKept)
	case joins:
		// which writes nothing that is there already
		if err := c.Session.Save(t.url(), t.resume); err != nil {
			return fmt.Errorf("%w: %w", ErrNotStored, err)
		}
	case fresh:
		c.saveSession(t)
	}
	return nil
}

// Exchanges reports whether a client that comes with token may be given credential in its place:
// token is a join token, and the credential is one that can come of it. A server's own word does
// not count: one that is hostile would replace a token that opens the server to others by one that
// opens it to nobody, for all later runs.
type Exchanges func(token, credential string) bool

// exchange goes on with the credential that a server gave for a join token, if that was asked for.
// One that cannot be stored is left alone: the join token opens the server to this session until
// the credential is used.
func (c *Client) exchange(t *endpoint, credential string) {
	if credential == "" {
		return
	}
	if c.Exchanges == nil || !c.Exchanges(t.dialer.Token, credential) {
		c.Log.Warn("the server gave a credential, and this client has not come with a join token: it is not kept", "server", t.dialer.URL.Host)
		return
	}
	if err := c.Credentials.Keep(t.url(), credential); err != nil {
		c.Log.Warn("the credential that the server gave for the join token is not kept: this client needs the join token again", "err", err)
		return
	}
	t.dialer.Token = credential
}

// over explains the end of a connection whose token opens nothing any more; it returns nil for any
// other end.
func over(err error) error {
	var closed *transport.CloseError
	if !errors.As(err, &closed) || !closed.Remote || closed.Code != transport.CodeRevoked {
		return nil
	}
	return &transport.StepError{Step: transport.StepAuth, Err: errors.New(closed.Reason),
		Reason: transport.ReasonTokenOver}
}
