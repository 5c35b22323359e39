package firewall

import (
	"context"
	"slices"
	"strings"

	"tunnel/cmdrun"
	"tunnel/journal"
	"tunnel/nftcmd"
)

// Beside returns g with the devices of the other runs on this machine that forward between their
// tunnel and networks here, for the table of dev; or an ErrRules as Check. Their tables say which:
// full tunnels and kill switches, which judge what this machine sends, are none, because no network
// here is to be opened to them. It looks only if g guards an interface; if that fails there are
// none.
func (g Guards) Beside(ctx context.Context, m journal.Machine, dev string) (Guards, error) {
	g.Others = nil
	if err := g.Check(); err != nil || len(g.IPv4) == 0 || cmdrun.IsDry(m.Run) || m.Look == nil {
		return g, err
	}
	// What other programs have there must not keep this one from its own table. If nft does not work,
	// setting that says so.
	var tables []nftcmd.Table
	if out, err := m.Run.Run(ctx, nftcmd.ListChains()); err == nil {
		tables, _ = nftcmd.ParseChains(out)
	}
	for _, t := range tables {
		other, ours := strings.CutPrefix(t.Name, TableName(""))
		has := func(hook string) bool {
			return slices.ContainsFunc(t.Chains, func(c nftcmd.Chain) bool { return c.Hook == hook })
		}
		if ours && other != dev && checkName(other) == nil && has("forward") && !has("output") {
			g.Others = append(g.Others, other)
		}
	}
	slices.Sort(g.Others)
	return g, nil
}
