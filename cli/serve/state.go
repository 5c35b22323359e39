package cli

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	"tunnel/auth"
	"tunnel/config"
	"tunnel/control"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/state"
)

// The file of the state directory that a server keeps, and its parts.
const (
	stateFile    = "tunnel.db"
	bucketTokens = "token"
	bucketLeases = "lease"
)

// firstToken is the name of the token that a fresh server makes by itself.
const firstToken = "first"

// serverToken returns the token that the flags give, "" if none.
func serverToken(i *invocation, log *slog.Logger) (string, error) {
	secret, err := i.token()
	if err != nil {
		return "", err
	}
	if i.serve.InsecureNoAuth {
		log.Warn("no token: everybody who can reach the port is let in")
	}
	return secret, nil
}

// serverState is what a server keeps in its state directory, open.
type serverState struct {
	dir    string
	file   *state.File
	leases *lease.Pool
	tokens *auth.Store // nil lets everybody in
	given  bool        // --token or --token-file
	log    *slog.Logger
}

// openServerState opens and locks the state in dir. secret is the token that a person gave, "" if there is none.
func openServerState(dir string, told *config.Serve, secret string, log *slog.Logger) (_ *serverState, err error) {
	s := &serverState{dir: dir, given: secret != "", log: log}
	if s.file, err = openStateFile(state.Open, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.file.Close()
		}
	}()
	if s.leases, err = lease.Open(s.file.Bucket(bucketLeases), told.Network, lease.Options{Hold: told.LeaseHold}); err != nil {
		return nil, err
	}
	if told.InsecureNoAuth {
		return s, nil
	}
	if s.tokens, err = auth.Open(s.file.Bucket(bucketTokens)); err != nil {
		return nil, err
	}
	if secret != "" {
		s.tokens.SetFlag(secret)
	}
	return s, nil
}

// openStateFile opens the database in dir, with state.Open or state.Try.
func openStateFile(open func(string) (*state.File, error), dir string) (*state.File, error) {
	file, err := open(filepath.Join(dir, stateFile))
	if err != nil && asFailure(err).step != stepState {
		err = fail(stepState, err, "give a directory that you may write to with --state DIR")
	}
	return file, err
}

// close writes what could wait and unlocks the state. What could wait is when a lease or token was last used; that a full
// disk loses it is no failure.
func (s *serverState) close() {
	if err := s.leases.Close(); err != nil {
		s.log.Warn("it is not kept since when addresses are free", "err", err)
	}
	if s.tokens != nil {
		if err := s.tokens.Close(); err != nil {
			s.log.Warn("it is not kept when tokens were used last", "err", err)
		}
	}
	if err := s.file.Close(); err != nil {
		s.log.Warn("the state did not close", "err", err)
	}
}

// makeFirst makes the first token of a server that never had one, and returns its text; "" if there is no need.
func (s *serverState) makeFirst() (text string, err error) {
	if s.tokens == nil || s.given {
		return "", nil
	}
	fresh, err := s.tokens.Fresh()
	if err != nil || !fresh {
		return "", err
	}
	_, text, err = s.tokens.Create(auth.Spec{Name: firstToken}, nil)
	return text, err
}

// remind says in the log what to do without the first token, which was shown at an earlier start, while nobody has come
// with it and there is no other.
func (s *serverState) remind() {
	if s.tokens == nil {
		return
	}
	if all := s.tokens.List(); len(all) == 1 && all[0].Name == firstToken && all[0].Used.IsZero() {
		s.log.Info("nobody has come with the first token yet: if it is lost, make another with `tunnel token create NAME`")
	}
}

// nobody tells, and says in the log, that no token can open this server.
func (s *serverState) nobody() bool {
	if s.tokens == nil || len(s.tokens.List()) > 0 {
		return false
	}
	s.log.Warn("there is no token, so that nobody can come in: make one with `tunnel token create NAME`")
	return true
}

// control lets `tunnel token` reach the server until the function that it returns is called.
func (s *serverState) control(ctx context.Context, hub *server.Server) (stop func()) {
	ln, err := control.Listen(s.dir)
	if err != nil {
		s.log.Error("no control socket: `tunnel token` does not reach this server", "err", err)
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { control.Serve(ctx, ln, hub, s.log) })
	return func() {
		cancel()
		group.Wait()
	}
}
