package client

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"

	"tunnel/atomicfile"
	"tunnel/transport"
)

// Credentials keeps, by the server's URL, the credentials that this client got for its join tokens. They are secrets. A nil
// *Credentials keeps nothing. Only the client that has the SessionFile beside it may use the file.
type Credentials struct {
	path string
	kept map[string]string // by URL
}

// OpenCredentials reads the file at path; there need not be one yet.
func OpenCredentials(path string) (*Credentials, error) {
	c := &Credentials{path: path, kept: map[string]string{}}
	data, err := atomicfile.Read(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &c.kept); err != nil || c.kept == nil {
		return nil, fmt.Errorf("%s is damaged: it has the credential that a server gave this machine", path)
	}
	return c, nil
}

// Get returns the credential for the server at url, "" if there is none.
func (c *Credentials) Get(url string) string {
	if c == nil {
		return ""
	}
	return c.kept[url]
}

// errNotKept says that there is no file.
var errNotKept = errors.New("this run keeps nothing")

// keep puts a credential into the file, from where not even a power cut takes it.
func (c *Credentials) keep(url, credential string) error {
	if c == nil {
		return errNotKept
	}
	if c.kept[url] == credential {
		return nil
	}
	kept := maps.Clone(c.kept)
	kept[url] = credential
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(c.path, data); err != nil {
		return err
	}
	c.kept = kept
	return nil
}

// newSession returns 128 random bits as text. The client names its own session: a join token is used up by the session that
// it first comes with, and the answer that would tell the client of another may never arrive.
func newSession() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ErrNotStored says that a session cannot be stored that is about to use up a join token.
var ErrNotStored = errors.New("the join token is not used, because its session cannot be stored")

// prepare draws a session for t, if it has none, and stores it. A join token opens the server to that session only, so one
// that could not be stored must not use it up: nobody could come with the token again.
func (c *Client) prepare(t *target) error {
	fresh := t.resume.Session == ""
	if fresh {
		t.resume.Session = newSession()
	}
	switch joins := c.IsJoin != nil && c.IsJoin(t.dialer.Token); {
	case joins && c.Session == nil:
		return fmt.Errorf("%w: %w", ErrNotStored, errNotKept)
	case joins:
		if err := c.Session.save(t.url(), t.resume); err != nil { // which writes nothing that is there already
			return fmt.Errorf("%w: %w", ErrNotStored, err)
		}
	case fresh:
		c.saveSession(t)
	}
	return nil
}

// Exchanges reports whether a client that comes with token may be given credential in its place: token is a join token, and
// the credential is one that can come of it. A server's own word does not count: one that is hostile would replace a token
// that opens the server to others by one that opens it to nobody, for all later runs.
type Exchanges func(token, credential string) bool

// exchange goes on with the credential that a server gave for a join token, if that was asked for. One that cannot be stored
// is left alone: the join token opens the server to this session until the credential is used.
func (c *Client) exchange(t *target, credential string) {
	if credential == "" {
		return
	}
	if c.Exchanges == nil || !c.Exchanges(t.dialer.Token, credential) {
		c.Log.Warn("the server gave a credential, and this client has not come with a join token: it is not kept", "server", t.dialer.URL.Host)
		return
	}
	if err := c.Credentials.keep(t.url(), credential); err != nil {
		c.Log.Warn("the credential that the server gave for the join token is not kept: this client needs the join token again", "err", err)
		return
	}
	t.dialer.Token = credential
}

// over explains the end of a connection whose token opens nothing any more; it returns nil for any other end.
func over(err error) error {
	var closed *transport.CloseError
	if !errors.As(err, &closed) || !closed.Remote || closed.Code != transport.CodeRevoked {
		return nil
	}
	return &transport.StepError{Step: transport.StepAuth, Err: errors.New(closed.Reason), Reason: transport.ReasonTokenOver}
}
