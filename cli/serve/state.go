package serve

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/config"
	"tunnel/control"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/state"
)

// firstToken is the name of the token that a new server makes itself.
const firstToken = "first"

// serverToken returns the token of the flags, "" if there is none.
func serverToken(i *invocation.Invocation, log *slog.Logger) (string, error) {
	secret, err := i.Token()
	if err != nil {
		return "", err
	}
	if i.Serve.InsecureNoAuth {
		log.Warn("no token: every client that can reach the port is admitted")
	}
	return secret, nil
}

// serverState is the open state of a server.
type serverState struct {
	dir    string
	file   *state.File
	leases *lease.Pool
	auth   server.Authenticator
	tokens *auth.Store       // the same; nil with --insecure-no-auth
	given  bool              // --token or --token-file
	ln     net.Listener      // the control socket; nil if there is none
	record func(audit.Entry) // what is done with tokens; set before that
	log    *slog.Logger
}

// openServerState opens and locks the state in dir. secret is the token of the flags, "" if there
// is none.
func openServerState(dir string, told *config.Serve, secret string,
	log *slog.Logger) (_ *serverState, err error) {
	s := &serverState{dir: dir, given: secret != "", log: log}
	if s.file, err = statedir.OpenFile(state.Open, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.file.Close()
		}
	}()
	if s.leases, err = lease.Open(s.file.Bucket(statedir.BucketLeases), told.Network,
		lease.Options{Hold: told.LeaseHold}); err != nil {
		return nil, err
	}
	if told.InsecureNoAuth {
		s.auth = auth.AllowAll{}
		return s, nil
	}
	if s.tokens, err = auth.Open(s.file.Bucket(statedir.BucketTokens)); err != nil {
		return nil, err
	}
	if secret != "" {
		s.tokens.SetFlag(secret)
	}
	s.auth = s.tokens
	return s, nil
}

// close writes the times of last use, which are written late, and unlocks the state. Losing these
// times to a full disk is not a failure.
func (s *serverState) close() {
	if s.ln != nil {
		_ = s.ln.Close() // also after Serve, which was not reached if the start has failed
	}
	if err := s.leases.Close(); err != nil {
		s.log.Warn("lease idle times not saved", "err", err)
	}
	if s.tokens != nil {
		if err := s.tokens.Close(); err != nil {
			s.log.Warn("times of the tokens' last use not saved", "err", err)
		}
	}
	if err := s.file.Close(); err != nil {
		s.log.Warn("state file not closed cleanly", "err", err)
	}
}

// makeFirst makes the first token of a server that never had one, and returns its text; "" if there
// is no need.
func (s *serverState) makeFirst() (text string, err error) {
	if s.tokens == nil || s.given {
		return "", nil
	}
	fresh, err := s.tokens.Fresh()
	if err != nil || !fresh {
		return "", err
	}
	token, text, err := s.tokens.Create(auth.Spec{Name: firstToken}, nil)
	if err == nil {
		s.record(audit.OfToken(audit.TokenCreated, token))
	}
	return text, err
}

// remind logs what to do if the first token, which an earlier start has shown, was lost, while no
// client has used it and there is no other.
func (s *serverState) remind() {
	if s.tokens == nil {
		return
	}
	if all := s.tokens.List(); len(all) == 1 && all[0].Name == firstToken && all[0].Used.IsZero() {
		s.log.Info(
			"no client has used the first token yet: if it is lost, make another with `tunnel " +
				"token create NAME`")
	}
}

// nobody reports whether there is no token, and logs it.
func (s *serverState) nobody() bool {
	if s.tokens == nil || len(s.tokens.List()) > 0 {
		return false
	}
	s.log.Warn(
		"there is no token, so no client can connect: make one with `tunnel token create NAME`")
	return true
}

// listen gives the control socket its name. This comes before any byte is read from the network.
func (s *serverState) listen(socket *control.Socket) {
	var err error
	if s.ln, err = socket.Listen(s.dir); err != nil {
		s.log.Error("no control socket: `tunnel token` cannot reach this server", "err", err)
	}
}

// reload replaces the token of the flags; "" is none. Without tokens it does nothing.
func (s *serverState) reload(secret string) {
	if s.tokens != nil {
		s.tokens.SetFlag(secret)
	}
}

// control serves the control socket for `tunnel token` until the returned function is called.
func (s *serverState) control(ctx context.Context, hub *server.Server,
	own control.Own) (stop func()) {
	if s.ln == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { control.Serve(ctx, s.ln, hub, own, s.log) })
	return func() {
		cancel()
		group.Wait()
	}
}

// entries returns where commands without a hub have kept their entries of the audit log, nil if
// there is no audit log.
func (s *serverState) entries(told *config.Serve) audit.Bucket {
	if told.AuditLog == "" {
		return nil
	}
	return s.file.Bucket(statedir.BucketAudit)
}
