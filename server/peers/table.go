package peers

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"tunnel/lease"
	"tunnel/transport"
	"tunnel/transport/fq"
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
	budget *fq.Budget // of all queues; nil is no limit
	now    func() time.Time

	// By destination: the clients' addresses and the prefixes of their tokens. Lookup takes no
	// lock, because a table is never changed, only replaced with mu held.
	sinks atomic.Pointer[bart.Table[Sink]]

	mu      sync.Mutex // guards the rest
	seats   map[lease.Holder]*seat
	byToken map[string]map[lease.Holder]*seat // the same seats, by the token's id
	away    map[lease.Holder]*Held
	holding int // those of away that hold packets
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
		away:   map[lease.Holder]*Held{},
		budget: budget, now: now,
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
// The packets of that peer, or those held for the holder, move to p. Attach drops the packets held
// for another holder that had p's address, and returns how many there were.
func (t *Table) Attach(p *Peer) (lost uint64) {
	old, lost := t.replace(p)
	if old != nil {
		old.cancel(&transport.CloseError{Code: transport.CodeReplaced,
			Reason: "a newer connection resumed the session"})
	}
	return lost
}

// replace is Attach, but returns the old peer, or nil, in place of ending it.
func (t *Table) replace(p *Peer) (old *Peer, lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[p.Holder]
	held := t.away[p.Holder]
	old = s.peer
	s.peer, s.reserved = p, false
	move := func() {
		if held != nil {
			held.move(p.Queue)
		}
		if old != nil {
			for _, waiting := range old.Queue.TakeFresh(fq.Fresh) {
				p.Queue.Push(waiting)
			}
		}
	}
	move() // before later packets of the same flows
	sinks := t.sinks.Load()
	var left []netip.Prefix
	if held != nil {
		sinks = without(sinks, held.prefixes, Sink{Held: held})
		left = held.prefixes
	}
	if old != nil {
		sinks = without(sinks, old.prefixes(), Sink{Peer: old})
		left = old.prefixes()
	}
	for _, prefix := range p.prefixes() {
		if other, ok := sinks.Get(prefix); ok && other.Held != nil {
			lost += t.forget(other.Held)
			sinks = without(sinks, other.Held.prefixes, other)
		}
		sinks = sinks.InsertPersist(prefix, Sink{Peer: p})
	}
	if len(left) > 0 && left[0].Addr() != p.Address { // it has moved to another address
		sinks = t.watched(sinks, left[0])
	}
	t.sinks.Store(sinks)
	move() // packets that came while the table was made
	if held != nil {
		lost += t.forget(held)
	}
	return old, lost
}

// without returns sinks without the prefixes that lead to s.
func without(sinks *bart.Table[Sink], prefixes []netip.Prefix, s Sink) *bart.Table[Sink] {
	for _, prefix := range prefixes {
		if at, ok := sinks.Get(prefix); ok && at == s {
			sinks = sinks.DeletePersist(prefix)
		}
	}
	return sinks
}

// Lookup returns where packets for a go; ok reports whether a client has it, or had it recently.
func (t *Table) Lookup(a netip.Addr) (to Sink, ok bool) { return t.sinks.Load().Lookup(a) }

// Has reports whether a client has a, or had it recently.
func (t *Table) Has(a netip.Addr) bool {
	_, ok := t.Lookup(a)
	return ok
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
	sinks := t.sinks.Load()
	// another client's token may have one of p's routes by now
	own := slices.DeleteFunc(p.prefixes(), func(prefix netip.Prefix) bool {
		at, ok := sinks.Get(prefix)
		return ok && at != Sink{Peer: p}
	})
	h := t.newHeld(p.Holder, own)
	if hold && t.holding < holdMost {
		h.limit, h.queues = t.holdLimit(), map[sender]*fq.Queue{}
		t.holding++
	}
	lost = h.take(p.Queue)
	for _, prefix := range h.prefixes {
		sinks = sinks.InsertPersist(prefix, Sink{Held: h})
	}
	t.sinks.Store(sinks)
	t.away[p.Holder] = h
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
