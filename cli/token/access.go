package token

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/statedir"
	"tunnel/control"
	"tunnel/server"
	"tunnel/state"
)

// tokens manages the tokens of a state directory: through the server that runs there, or in the
// file.
type tokens interface {
	List(context.Context) ([]server.TokenStatus, error)
	Create(context.Context, auth.Spec) (auth.Token, string, error)
	Set(context.Context, string, auth.Change) error
	Revoke(context.Context, string) error
	Join(context.Context) (control.Join, error)
}

// withTokens calls f with the tokens of --state. A running server has the file locked and is asked;
// one that is just starting or stopping is waited for. If there is no state yet it is created if
// create is set, with a line on stderr, because --state may be mistyped.
func withTokens(c *cli.Context, create bool, f func(tokens) error) error {
	use := statedir.Find
	if create {
		use = statedir.Make
	}
	by := audit.Self() // root becomes the directory's user below
	dir, err := statedir.ForTokens(c, statedir.Chosen(c), use)
	if err != nil {
		return err
	}
	told := false
	for until := time.Now().Add(tokenPatience); ; {
		err := f(control.NewClient(dir).By(by))
		if !errors.Is(err, control.ErrNoServer) {
			return tokenFailure(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, statedir.FileName)); errors.Is(err,
			os.ErrNotExist) && !told {
			if !create {
				return failure.New(failure.StepState,
					fmt.Errorf("%s has no %s: it is not a server's state", dir, statedir.FileName),
					statedir.AdviceServer)
			}
			_, _ = fmt.Fprintf(c.App.ErrWriter,
				"there is no state in %s yet: making a new one, for a server with this --state\n",
				dir)
			told = true
		}
		file, err := statedir.OpenFile(state.Try, dir)
		if err == nil {
			defer func() { _ = file.Close() }()
			store, err := auth.Open(file.Bucket(statedir.BucketTokens))
			if err != nil {
				return err
			}
			return tokenFailure(f(localTokens{store, func(e audit.Entry) {
				if err := audit.Keep(file.Bucket(statedir.BucketAudit), e.By(by)); err != nil {
					_, _ = fmt.Fprintf(c.App.ErrWriter,
						"this was done, and the server's audit log will not have it: %v\n", err)
				}
			}}))
		}
		if !errors.Is(err, state.ErrLocked) || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.Done():
			return nil
		}
	}
}

// tokenPatience is how long withTokens waits for a server that has locked the file and does not
// answer.
const tokenPatience = 5 * time.Second

// tokenFailure gives an error about tokens its step: a wrong request, or a failure to perform it.
func tokenFailure(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range []error{auth.ErrName, auth.ErrExists, auth.ErrUnknown, auth.ErrSpec,
		auth.ErrGiven,
		control.ErrRefused} {
		if errors.Is(err, e) {
			return failure.New(failure.StepUsage, err, "see `tunnel token list`")
		}
	}
	if step := failure.Of(err).Step; step == failure.StepState || step == failure.StepOutput {
		return err
	}
	return failure.New(failure.StepState, err,
		"see the server's log, and run as root or as the server's user")
}

// localTokens are the tokens in a file that no server has open, and what records their changes.
type localTokens struct {
	store  *auth.Store
	record func(audit.Entry)
}

func (l localTokens) List(context.Context) (all []server.TokenStatus, _ error) {
	for _, t := range l.store.List() {
		all = append(all, server.TokenStatus{Token: t})
	}
	return all, nil
}

func (l localTokens) Create(_ context.Context, spec auth.Spec) (auth.Token, string, error) {
	made, text, err := l.store.Create(spec, nil) // serve checks it against its network
	if err == nil {
		l.record(audit.OfToken(audit.TokenCreated, made))
	}
	return made, text, err
}

func (l localTokens) Set(_ context.Context, name string, change auth.Change) error {
	_, now, err := l.store.Set(name, change, nil) // as above
	if err == nil {
		l.record(audit.OfChange(now, change))
	}
	return err
}

func (l localTokens) Revoke(_ context.Context, name string) error {
	was, err := l.store.Revoke(name)
	if err == nil {
		l.record(audit.OfToken(audit.TokenRevoked, was))
	}
	return err
}

func (localTokens) Join(context.Context) (control.Join, error) { return control.Join{}, nil }
