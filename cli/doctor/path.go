package doctor

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"tunnel/cli/dialers"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/client/store"
	"tunnel/cmdrun"
	"tunnel/doctor"
	"tunnel/doctor/remote"
	"tunnel/firewall"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/transport"
	"tunnel/transport/ws"
	"tunnel/tun"
)

// examinePaths examines the paths to all servers at the same time.
func examinePaths(i *invocation.Invocation) ([]doctor.Path, error) {
	all, err := dialers.New(i, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	useKept(i, all)
	if aroundTunnel(i.CLI.Context) {
		dialers.Mark(all)
	}
	unmark(all)
	paths := make([]doctor.Path, len(all))
	var group sync.WaitGroup
	for n, d := range all {
		group.Go(func() {
			s := remote.Server{Dialer: d.Dialer, Token: d.Token, Header: d.Header,
				ProxyFrom: dialers.ProxySource(i.Connect, d.URL)}
			paths[n] = doctor.Path{Server: transport.Readable(d.URL),
				Checks: remote.Check(i.CLI.Context, s)}
		})
	}
	group.Wait()
	return chosen(all, paths), nil
}

// aroundTunnel reports whether a client here sends all traffic through its tunnel, or lets nothing
// else leave: connections to a server need the mark then.
func aroundTunnel(ctx context.Context) bool {
	look := rtnl.Kernel{}
	rules, _ := look.Rules() // without them there is no full tunnel
	if slices.ContainsFunc(rules, func(r rtnl.Rule) bool { return r.Mark == route.Mark }) {
		return true
	}
	sealed, _, err := firewall.Sealed(ctx, journal.Machine{Run: cmdrun.NewExec(nil), Look: look})
	return err == nil && len(sealed) > 0
}

// unmark has the dialers set no mark if this process may not: root in a container may not be able.
func unmark(all []*ws.Dialer) {
	if may, err := tun.NetAdmin(); err == nil && may {
		return
	}
	for _, d := range all {
		d.Mark, d.Resolver = 0, nil
	}
}

// chosen leaves out the paths that a client would not take: a HOST without a port stands for two,
// of which the second is a guess.
func chosen(all []*ws.Dialer, paths []doctor.Path) (kept []doctor.Path) {
	for n, p := range paths {
		switch {
		case !all[n].Guess || len(kept) == 0:
			kept = append(kept, p)
		case failed(kept[len(kept)-1]) && len(p.Checks) > len(kept[len(kept)-1].Checks):
			kept[len(kept)-1] = p // it gets further
		}
	}
	return kept
}

func failed(p doctor.Path) bool {
	return slices.ContainsFunc(p.Checks,
		func(f doctor.Finding) bool { return f.Verdict == doctor.Fail })
}

// useKept has the dialers use the credentials that clients of this machine have stored.
func useKept(i *invocation.Invocation, all []*ws.Dialer) {
	told := i.Connect
	for _, dir := range statedir.Candidates(statedir.Choice{Dir: told.State,
		Given: told.From.Given(invocation.FlagState)}) {
		name := filepath.Join(dir, "credential-"+told.Dev+".json")
		if kept, err := store.OpenCredentials(name); err == nil {
			dialers.UseKept(dir, told.Dev, kept, all)
		}
	}
}
