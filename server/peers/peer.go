package server

import (
	"context"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/transport"
)

// A peer is one client that is connected, by one connection or several.
type peer struct {
	holder  lease.Holder
	session string
	token   auth.Token
	remote  string // where it connects from
	since   time.Time
	lease   *lease.Lease        // released when the peer goes
	address netip.Addr          // of the lease
	routes  *bart.Lite          // what else it may send from; nil is nothing
	link    transport.Connected // what it was told; set once, before it is found by its holder
	queue   *transport.Lanes
	lanes   lanes
	ctx     context.Context //nolint:containedctx // the peer's life: whoever replaces it ends it, from another request
	cancel  context.CancelCauseFunc
}

// newPeer returns the client that came from remote with this token and session, and has this lease. It ends with ctx at
// the latest. budget is what its queue shares with others; nil is none.
func newPeer(
	ctx context.Context, remote string, token auth.Token, session string, pair *lease.Lease, budget *transport.Budget,
) *peer {
	p := &peer{
		holder: holderOf(token, session), session: session, token: token, remote: remote, since: time.Now(),
		lease: pair, address: pair.Local, queue: budget.NewLanes(queueLimit, token.ID),
	}
	for _, prefix := range token.Routes {
		if p.routes == nil {
			p.routes = new(bart.Lite)
		}
		p.routes.Insert(prefix)
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// has reports whether a is p's own address or lies in a prefix of its token.
func (p *peer) has(a netip.Addr) bool { return a == p.address || p.routes != nil && p.routes.Lookup(a) }

// holderOf returns under which name a client has its lease.
func holderOf(token auth.Token, session string) lease.Holder {
	if token.Sole() {
		session = ""
	}
	return lease.Holder{Token: token.ID, Machine: session}
}

// prefixes returns all for which p gets packets.
func (p *peer) prefixes() []netip.Prefix {
	return append([]netip.Prefix{netip.PrefixFrom(p.address, p.address.BitLen())}, p.token.Routes...)
}
