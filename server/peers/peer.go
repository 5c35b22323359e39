// Package peers has the table of a hub's clients, connected or away, by which packets find theirs.
package peers

import (
	"context"
	"net/netip"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// A Peer is a connected client, with one connection or several. Its exported fields do not change
// once it is attached.
type Peer struct {
	*policy.Member // its address and its rules, which the caller sets

	Holder  lease.Holder
	Session string
	Token   auth.Token
	Remote  string              // where it connects from
	Known   audit.Entry         // what the audit log says of the session
	Since   time.Time           // when NewPeer made it
	Lease   *lease.Lease        // the caller releases it when the peer is detached
	Link    transport.Connected // the reply to the client, without its credential
	// of packets to the client; the caller closes it when the peer is detached
	Queue *fq.Subflows

	told chronicle

	ctx      context.Context //nolint:containedctx // the peer's life, which its successor's request ends
	cancel   context.CancelCauseFunc
	subflows subflows
}

// NewPeer returns the client that has this token, session and lease, and of which the audit log
// says what is known. The end of ctx ends it.
func (t *Table) NewPeer(
	ctx context.Context, known audit.Entry, token auth.Token, session string, pair *lease.Lease,
) *Peer {
	p := &Peer{
		Member: policy.NewMember(pair.Local),
		Holder: HolderOf(token, session), Session: session, Token: token, Remote: known.Remote,
		Known: known,
		Since: time.Now(),
		Lease: pair, Queue: t.budget.NewSubflows(fq.PeerLimit, token.ID),
	}
	p.Queue.Measure(t.Meter)
	p.Known.Session, p.Known.Address = t.numbers.Add(1), pair.Local
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

// End closes p's connections, which tell the client why unless that is nil.
func (p *Peer) End(why error) { p.cancel(why) }

// address returns the prefix of p's own address.
func (p *Peer) address() netip.Prefix { return netip.PrefixFrom(p.Address, p.Address.BitLen()) }
