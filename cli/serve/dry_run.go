package serve

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/statedir"
	"tunnel/cmdrun"
	"tunnel/control"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/server/networks"
	"tunnel/state"
)

// dryRun prints the commands that would run. The routes to networks behind clients are those that
// the tokens allow, as if all these clients were connected.
func dryRun(c *cli.Context, i *invocation.Invocation, want host.Want, log *slog.Logger) error {
	tokens, err := knownTokens(c, i)
	if err != nil {
		log.Warn("the routes to networks behind clients are not shown: the tokens cannot be read",
			"err", err)
	}
	to := networks.Machine{Pushed: slices.Clone(i.Serve.PushRoute)}
	for _, t := range tokens {
		if !t.Expired(time.Now()) {
			routes, _ := routesBehind(want, t.Routes)
			want.Routes = append(want.Routes, routes...)
			to.Pushed = append(to.Pushed, t.PushRoutes...)
			to.Owned = append(to.Owned, t.Routes...)
		}
	}
	slices.SortFunc(to.Pushed, netip.Prefix.Compare)
	to.Pushed = slices.Compact(to.Pushed)
	slices.SortFunc(to.Owned, netip.Prefix.Compare)
	this := host.New(machine.Kernel(log), nil, nil)
	gate := newGate(c.Context, i.Serve, to, this)
	want.Firewall, want.Sysctls = gate.rules, gate.sysctls
	dry := host.New(journal.Machine{Run: cmdrun.DryRun{W: c.App.Writer}}, nil, nil)
	return dry.Apply(c.Context, want)
}

// knownTokens returns the tokens in the state directory, from a server that runs there or from the
// file; none if there is no state yet. As root, the process becomes the directory's user.
func knownTokens(c *cli.Context, i *invocation.Invocation) (all []auth.Token, err error) {
	choice := machine.StateOf(i)
	file := filepath.Join(choice.Dir, statedir.FileName)
	if _, err := os.Lstat(file); i.Serve.InsecureNoAuth || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	dir, err := statedir.ForTokens(c, choice, statedir.Find)
	if err != nil {
		return nil, err
	}
	running, err := control.NewClient(dir).List(c.Context)
	if !errors.Is(err, control.ErrNoServer) {
		for _, t := range running {
			all = append(all, t.Token)
		}
		return all, err
	}
	open, err := statedir.OpenFile(state.Try, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, open.Close()) }()
	store, err := auth.Open(open.Bucket(statedir.BucketTokens))
	if err != nil {
		return nil, err
	}
	return store.List(), nil
}
