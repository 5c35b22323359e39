package firewall

import (
	"context"
	"net/netip"

	"tunnel/cmdrun"
	"tunnel/journal"
	"tunnel/sever"
)

// Retrack has the kernel look again at connections that r translates, and that began while the
// table was not there: they would stay untranslated for as long as they last, because the rules of
// NAT are asked about the first packet only. A kernel that cannot tell leaves them.
func (r Rules) Retrack(ctx context.Context, m journal.Machine) {
	networks := r.translated()
	if len(networks) == 0 || cmdrun.IsDry(m.Run) || m.Look == nil {
		return
	}
	if n, err := sever.Untranslated(ctx, networks...); m.Log != nil && (n > 0 || err != nil) {
		m.Log.DebugContext(ctx, "connections begin to be translated", "connections", n, "err", err)
	}
}

// translated returns the networks one of which every connection that r translates has an address
// in: where it comes from, or goes to.
func (r Rules) translated() (all []netip.Prefix) {
	for _, m := range r.Maps {
		all = append(all, m.Here, m.There)
	}
	if len(r.Masquerade) == 0 {
		return all
	}
	if t := r.Tracked; t != nil { // a server's: its clients
		return append(append(all, t.Network), t.Behind...)
	}
	return append(all, r.Masquerade...)
}
