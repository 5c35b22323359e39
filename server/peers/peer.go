// Package peers knows which clients of a hub are connected and which have left lately, and where
// packets for an address go.
package peers

import (
	"context"
	"net/netip"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/policy"
	"tunnel/transport"
)

// queueLimit bounds what waits for one peer, in bytes of buffers.
const queueLimit = 8 << 20

// A Peer is one client that is connected, through one connection or several. Its exported fields do
// not change once it is attached.
type Peer struct {
	policy.Member // its address, and the networks behind it

	Holder  lease.Holder
	Session string
	Token   auth.Token
	Remote  string              // where it connects from
	Since   time.Time           // when it was made
	Lease   *lease.Lease        // the caller releases it when the peer is detached
	Link    transport.Connected // what the client was told, without its credential
	// of packets to the client; the caller closes it when the peer is detached
	Queue *transport.Lanes

	ctx      context.Context //nolint:containedctx // the peer's life: its successor ends it, from another request
	cancel   context.CancelCauseFunc
	subflows subflows
}

// NewPeer returns the client that came from remote with this token and session, and has this lease.
// It ends with ctx at the latest.
func (t *Table) NewPeer(
	ctx context.Context, remote string, token auth.Token, session string, pair *lease.Lease,
) *Peer {
	p := &Peer{
		Member: policy.NewMember(pair.Local, token.Routes),
		Holder: HolderOf(token, session), Session: session, Token: token, Remote: remote,
		Since: time.Now(),
		Lease: pair, Queue: t.budget.NewLanes(queueLimit, token.ID),
	}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}

// HolderOf returns the name under which a client has its lease.
func HolderOf(token auth.Token, session string) lease.Holder {
	if token.Sole() {
		session = ""
	}
	return lease.Holder{Token: token.ID, Machine: session}
}

// End closes p's connections, which tell the client why; nil says nothing.
func (p *Peer) End(why error) { p.cancel(why) }

// prefixes returns all for which p gets packets.
func (p *Peer) prefixes() []netip.Prefix {
	return append([]netip.Prefix{netip.PrefixFrom(p.Address, p.Address.BitLen())},
		p.Token.Routes...)
}
