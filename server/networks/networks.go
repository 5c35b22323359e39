// Package networks knows the networks behind the clients of a hub and behind its machine. It makes
// the rules of clients and the updates that they are sent, and says what the machine has to do.
package networks

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/policy"
	"tunnel/server/peers"
	"tunnel/transport"
)

// Machine is what a hub's machine has to do for its clients, beside the private network.
type Machine struct {
	// networks behind clients, IPv4, to be routed into the device; sorted
	Behind []netip.Prefix
	// networks behind the machine that some client may reach: packets are to be forwarded between
	// the device and the interfaces that lead there; sorted
	Pushed []netip.Prefix
	// networks that tokens have behind their clients, advertised or not, IPv4; sorted
	Owned []netip.Prefix
}

// Equal reports whether both are the same.
func (m Machine) Equal(other Machine) bool {
	return slices.Equal(m.Behind, other.Behind) && slices.Equal(m.Pushed, other.Pushed) &&
		slices.Equal(m.Owned, other.Owned)
}

// Site is what a hub's machine has to do with networks. The zero Site is one without any.
type Site struct {
	// networks behind the machine that all clients may reach
	Push []netip.Prefix
	// all clients may reach public addresses by the machine
	Public bool
	// clients reach each other, and what is behind others
	Together bool
	// DNS servers that clients are told, and the domains whose names these know
	DNS     []netip.Addr
	Domains []string
}

// Hooks are what a hub's machine does for networks.
type Hooks struct {
	// returns an error if one of the networks is in use on the machine: a token cannot have it
	// behind its client. nil asks nobody
	Overlap func(context.Context, ...netip.Prefix) error
	// is called when what the machine has to do, or the Site, has changed, and not while it runs. nil
	// does nothing
	Route func(context.Context, Machine)
}

// Config is what Networks need. All fields but Site and Hooks must be set.
type Config struct {
	Site // as it is at the start
	Hooks

	Leases *lease.Pool
	Peers  *peers.Table
	Tokens *auth.Store      // nil for a hub without tokens
	Now    func() time.Time // by which changes of what clients advertise are limited
	Log    *slog.Logger
}

// Networks has clients and the machine told of changes. Its methods may be called concurrently.
type Networks struct {
	Config // its Site is guarded by telling

	changed chan struct{} // holds a token when something has changed

	telling sync.Mutex // held while rules and updates are made and sent, so that the last is newest
	latest  *scene     // guarded by telling; nil before the first
	stale   atomic.Bool

	mu      sync.Mutex
	offers  map[lease.Holder]*offer // guarded by mu, as all below
	renewed []chan<- struct{}       // closed when all are told of a Site that was replaced
}

// New returns Networks without clients.
func New(c Config) *Networks {
	return &Networks{Config: c, changed: make(chan struct{}, 1), offers: map[lease.Holder]*offer{}}
}

// Change replaces the Site: that holds for the next packet, and everybody is told of it. told is
// closed after Route was called, and clients were told; not if Run ends before.
func (n *Networks) Change(s Site) (told <-chan struct{}) {
	n.telling.Lock()
	n.Site = s
	n.telling.Unlock()
	done := make(chan struct{})
	n.mu.Lock()
	n.renewed = append(n.renewed, done)
	n.mu.Unlock()
	n.Changed()
	return done
}

// takeRenewed returns the channels of all calls of Change since the last.
func (n *Networks) takeRenewed() (all []chan<- struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, n.renewed = n.renewed, nil
	return all
}

// Changed makes a change of tokens that was made hold for the next packet, and has everybody told
// of it.
func (n *Networks) Changed() {
	n.stale.Store(true)
	n.judgeAll()
	n.wake()
}

// ring has everybody told of a change of what is advertised.
func (n *Networks) ring() {
	n.stale.Store(true)
	n.wake()
}

// wake has Run look at what there is.
func (n *Networks) wake() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// Expire is Changed if a token has expired since the last change.
func (n *Networks) Expire() {
	n.telling.Lock()
	over := n.latest != nil && n.latest.over(time.Now())
	n.telling.Unlock()
	if over {
		n.Changed()
	}
}

// Prepare gives a client that is about to be attached its rules, and its update to send when its
// connection is there.
func (n *Networks) Prepare(p *peers.Peer) {
	n.telling.Lock()
	defer n.telling.Unlock()
	c := n.scene()
	if _, known := c.tokens[p.Token.ID]; !known { // made since, or over
		n.stale.Store(true)
		c = n.scene()
	}
	t := c.of(p.Token.ID)
	p.Set(t.rules)
	c.told(p, t)
}

// Admit completes Prepare for a client that was just attached: a change meanwhile has not found it.
// It notes the networks that the client offers in place of what it has offered before.
func (n *Networks) Admit(p *peers.Peer, offered []netip.Prefix) {
	n.Prepare(p)
	inside, refused := n.allowed(p.Token.ID, offered)
	if len(refused) > 0 {
		n.Log.Warn("networks that a client advertises are ignored: its token does not allow them",
			"token", p.Token.Name, "address", p.Address, "networks", refused)
	}
	if late := n.offer(p.Holder, sorted(inside)); late {
		n.Log.Warn("a client changes the networks that it advertises too often: the change waits",
			"token", p.Token.Name, "address", p.Address, "at_most_every", offerPause)
	}
}

// allowed returns those of the networks offered that lie in one of a token, and those that do not,
// or have a longer one of another token around them.
func (n *Networks) allowed(token string, offered []netip.Prefix) (inside, refused []netip.Prefix) {
	n.telling.Lock()
	defer n.telling.Unlock()
	c := n.scene()
	for _, prefix := range offered {
		if within(prefix, c.tokens[token].Routes) {
			inside = append(inside, prefix)
		}
		if owner, ok := c.owner(prefix); !ok || owner != token {
			refused = append(refused, prefix)
		}
	}
	return inside, refused
}

// judgeAll gives all clients what has changed of their rules, and returns what the machine has to
// do.
func (n *Networks) judgeAll() Machine {
	n.telling.Lock()
	defer n.telling.Unlock()
	c := n.scene()
	c.judge(n.Peers.Members())
	return c.machine()
}

// tellAll sends all clients what has changed of their updates. What a client is told holds already.
func (n *Networks) tellAll() {
	n.telling.Lock()
	defer n.telling.Unlock()
	c, all := n.scene(), n.Peers.Members()
	c.judge(all) // the scene may be newer than that of judgeAll
	for id := range all {
		for _, p := range n.Peers.OfToken(id) {
			c.told(p, c.of(id))
		}
	}
}

// judge gives members, by their tokens' ids, their rules.
func (c *scene) judge(all map[string][]*policy.Member) {
	for id, members := range all {
		for _, m := range members {
			m.Set(c.of(id).rules)
		}
	}
}

// comeBack is when a client returns whose own networks have changed.
const comeBack = 500 * time.Millisecond

// told sends a client its update. One whose own networks have changed comes back instead: it may
// be another holder now, and advertises again.
func (c *scene) told(p *peers.Peer, t terms) {
	if token, ok := c.tokens[p.Token.ID]; ok && !slices.Equal(token.Routes, p.Token.Routes) {
		p.End(transport.ComeBack(comeBack))
		return
	}
	p.Tell(t.update)
}

// pause is the least time between two changes of which clients are told.
const pause = 100 * time.Millisecond

// Run has clients and the machine told of changes, until ctx ends, and the machine of what there is
// at the start.
func (n *Networks) Run(ctx context.Context) {
	var done *Machine
	for {
		renewed := n.takeRenewed() // before its Site is looked at
		now := n.judgeAll()
		if n.Route != nil && (done == nil || len(renewed) > 0 || !now.Equal(*done)) {
			n.Route(ctx, now)
		}
		done = &now
		n.tellAll()
		for _, told := range renewed {
			close(told)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select {
		case <-n.changed:
		case <-ctx.Done():
			return
		}
	}
}
