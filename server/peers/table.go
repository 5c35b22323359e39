package peers

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/fq/meter"
)

// A Sink is where packets for an address go: to a connected client, or to the packets held for one
// that is away. One of the two is set.
type Sink struct {
	Peer *Peer
	Held *Held
}

// Table has the clients that are connected and those that left recently. Its methods may be called
// concurrently. They do not block: while mu is held, only locks of packet queues are taken.
type Table struct {
	// Meter measures the packets to clients; those to this machine are shown to it.
	Meter *meter.Meter

	budget  *fq.Budget // of all queues; nil is no limit
	now     func() time.Time
	numbers atomic.Uint64 // of peers that were made

	// By destination: the clients' addresses and the networks behind them. Lookup takes no lock,
	// because a table is never changed, only replaced with mu held.
	sinks atomic.Pointer[bart.Table[Sink]]

	mu      sync.Mutex                // guards the rest
	owned   map[string][]netip.Prefix // the networks behind clients, by their tokens' ids
	unknown map[string]*Held          // of these tokens, those whose client was not here lately
	seats   map[lease.Holder]*seat
	byToken map[string]map[lease.Holder]*seat // the same seats, by the token's id
	away    map[lease.Holder]*Held
	holding int // those of away that hold packets

	counted map[*Peer]bool    // from Attach to Retire
	used    map[string]*usage // by the tokens' ids
	gone    usage             // of tokens that were revoked
}

// A seat is a session that is connected, being admitted, or both when it is resumed.
type seat struct {
	peer     *Peer // nil while none is connected
	reserved bool
}

// NewTable returns an empty table. The clients' queues share budget; nil is no limit. now is the
// clock.
func NewTable(budget *fq.Budget, now func() time.Time) *Table {
	t := &Table{
		seats: map[lease.Holder]*seat{}, byToken: map[string]map[lease.Holder]*seat{},
		away:    map[lease.Holder]*Held{},
		unknown: map[string]*Held{},
		counted: map[*Peer]bool{}, used: map[string]*usage{},
		budget: budget, now: now, Meter: new(meter.Meter),
	}
	t.sinks.Store(new(bart.Table[Sink]))
	return t
}

// Reserve keeps a seat for a session that is being admitted, until Attach or Unreserve. It returns
// false if the token has most sessions already, apart from this one; 0 is no limit. There must be
// no other call for the holder before Attach or Unreserve.
func (t *Table) Reserve(h lease.Holder, most int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[h]
	if s == nil {
		seats := t.byToken[h.Token]
		if most > 0 && len(seats) >= most {
			return false
		}
		if seats == nil {
			seats = map[lease.Holder]*seat{}
			t.byToken[h.Token] = seats
		}
		s = &seat{}
		seats[h], t.seats[h] = s, s
	}
	s.reserved = true
	return true
}

// Unreserve undoes Reserve.
func (t *Table) Unreserve(h lease.Holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seats[h].reserved = false
	t.clear(h)
}

// clear removes the seat of h unless it is in use; the caller holds mu.
func (t *Table) clear(h lease.Holder) {
	if s := t.seats[h]; s.peer != nil || s.reserved {
		return
	}
	delete(t.seats, h)
	delete(t.byToken[h.Token], h)
	if len(t.byToken[h.Token]) == 0 {
		delete(t.byToken, h.Token)
	}
}

// Attach makes p, whose seat is reserved, the peer of its holder: from now on packets find it. A
// peer that had the seat is ended, but not waited for, since its connection is most likely dead.
// The packets of that peer, or those held for the holder, move to p as far as they are for an
// address that leads to p; Attach drops the others, and those held for another holder that had p's
// address, and returns the peer that had the seat, or nil, and how many packets it dropped.
func (t *Table) Attach(p *Peer) (old *Peer, lost uint64) {
	if old, lost = t.replace(p); old != nil {
		old.cancel(ErrReplaced())
	}
	return old, lost
}

// ErrReplaced returns why Attach ends a peer.
func ErrReplaced() error {
	return &transport.CloseError{Code: transport.CodeReplaced,
		Reason: "a newer connection resumed the session"}
}

// replace is Attach, but returns the old peer, or nil, in place of ending it.
func (t *Table) replace(p *Peer) (old *Peer, lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[p.Holder]
	held := t.away[p.Holder]
	old = s.peer
	s.peer, s.reserved = p, false
	t.begin(p)
	sinks := t.sinks.Load()
	var left netip.Prefix
	if held != nil {
		sinks = without(sinks, Sink{Held: held}, held.address)
		left = held.address
	}
	if old != nil {
		sinks = without(sinks, Sink{Peer: old}, old.address())
		left = old.address()
	}
	if other, ok := sinks.Get(p.address()); ok && other.Held != nil {
		lost += t.forget(other.Held)
		sinks = t.lead(sinks, other.Held.holder)
	}
	sinks = t.lead(sinks.InsertPersist(p.address(), Sink{Peer: p}), p.Holder)
	if left.IsValid() && left != p.address() { // it has moved to another address
		sinks = t.watched(sinks, left)
	}
	move := func() {
		give := func(waiting *packet.Packet) {
			if to, _ := sinks.Lookup(packet.Destination(waiting.IP())); to.Peer == p {
				p.Queue.Push(waiting)
				return
			}
			waiting.Free()
			lost++
		}
		if held != nil {
			held.move(give)
		}
		if old != nil {
			for _, waiting := range old.Queue.TakeFresh(fq.Fresh) {
				give(waiting)
			}
		}
	}
	move() // before later packets of the same flows
	t.sinks.Store(sinks)
	move() // packets that came while the table was made
	if held != nil {
		lost += t.forget(held)
	}
	return old, lost
}

// without returns sinks without a prefix if it leads to s.
func without(sinks *bart.Table[Sink], s Sink, prefix netip.Prefix) *bart.Table[Sink] {
	if at, ok := sinks.Get(prefix); ok && at == s {
		return sinks.DeletePersist(prefix)
	}
	return sinks
}

// Lookup returns where packets for a go; ok reports whether a client has it, had it recently, or
// would have it if it were here: a network of a token leads to no other client meanwhile, nor to
// this machine.
func (t *Table) Lookup(a netip.Addr) (to Sink, ok bool) { return t.sinks.Load().Lookup(a) }

// Has is Lookup without the Sink.
func (t *Table) Has(a netip.Addr) bool {
	_, ok := t.Lookup(a)
	return ok
}

// Member returns the client that has a, or behind which a lies, also if it left recently. ok is
// false if there is none, and m is nil if the client was not here lately, or not since this server
// started.
func (t *Table) Member(a netip.Addr) (m *policy.Member, ok bool) {
	switch to, ok := t.Lookup(a); {
	case !ok:
		return nil, false
	case to.Peer != nil:
		return to.Peer.Member, true
	default:
		return to.Held.member, true
	}
}

// Detach removes p, whose connections have ended, unless a newer peer has its seat. If hold is true
// and there is room, its packets, and those that still come, are held for its return. It returns
// how many packets were dropped.
func (t *Table) Detach(p *Peer, hold bool) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[p.Holder]
	if s == nil || s.peer != p {
		return 0
	}
	s.peer = nil
	t.clear(p.Holder)
	h := t.newHeld(p.Holder, p.address(), p.Member)
	if hold && t.holding < holdMost {
		h.limit, h.queues = t.holdLimit(), map[sender]*fq.Queue{}
		t.holding++
	}
	lost = h.take(p.Queue)
	t.away[p.Holder] = h
	t.sinks.Store(t.lead(t.sinks.Load().InsertPersist(h.address, Sink{Held: h}), p.Holder))
	return lost + h.take(p.Queue)
}

// holdLimit returns how many bytes of buffers may be held for one client, so that all together have
// no more than an eighth of the budget.
func (t *Table) holdLimit() int {
	if share := t.budget.Share(); share > 0 {
		return int(min(holdLimit, share/8/holdMost))
	}
	return holdLimit
}
