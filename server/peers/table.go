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
)

// A Sink is where packets for an address go: to a peer, or to what is held for one that is away.
// One of the two is set.
type Sink struct {
	Peer *Peer
	Held *Held
}

// Table has all clients: those that are connected and those that have left lately. Its methods may
// be called concurrently.
//
// Nothing waits while mu is held, neither for a disk nor for a lock other than those of packets'
// queues.
type Table struct {
	budget *transport.Budget // of all queues; nil is no limit
	now    func() time.Time

	// Who gets what is for an address: clients by their own, and by the prefixes of their tokens.
	// Packets find it without a lock; it is never changed, only replaced, with mu held.
	sinks atomic.Pointer[bart.Table[Sink]]

	mu      sync.Mutex // guards the rest
	seats   map[lease.Holder]*seat
	byToken map[string]map[lease.Holder]*seat // the same seats, by the token's id
	away    map[lease.Holder]*Held
	holding int // of away: those that have a queue
}

// A seat is a session: one that is there, one that is being admitted, or both when it is resumed.
type seat struct {
	peer     *Peer // nil before there is one
	reserved bool
}

// NewTable returns a table without clients. Their queues share budget; nil is no limit. now is the
// clock.
func NewTable(budget *transport.Budget, now func() time.Time) *Table {
	t := &Table{
		seats: map[lease.Holder]*seat{}, byToken: map[string]map[lease.Holder]*seat{},
		away:   map[lease.Holder]*Held{},
		budget: budget, now: now,
	}
	t.sinks.Store(new(bart.Table[Sink]))
	return t
}

// Reserve keeps a seat for a session that is being admitted, until Attach or Unreserve. It returns
// false if the token has as many as most already, which is no limit if it is 0; a session that is
// there is not one more. The next call for a holder must not begin before Attach or Unreserve.
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

// clear gives up a seat that nobody has; the caller holds mu.
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

// Attach makes p, whose seat is reserved, the peer of its holder: from now on packets find it. The
// peer that had the seat is told that a newer one has come, and not waited for: most likely it is
// dead. What waited for that one, or for the holder's return, waits for p; what waited for another
// holder that had p's address is dropped, and Attach returns how many packets that were.
func (t *Table) Attach(p *Peer) (lost uint64) {
	old, lost := t.replace(p)
	if old != nil {
		old.cancel(&transport.CloseError{Code: transport.CodeReplaced,
			Reason: "a newer connection resumed the session"})
	}
	return lost
}

// replace does what Attach does, but does not end the old peer, which it returns; nil if there is
// none.
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
			for _, waiting := range old.Queue.Salvage(fresh) {
				p.Queue.Push(waiting)
			}
		}
	}
	move() // before what comes now, of the same flows
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
	move() // what came while the table was made
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

// Lookup returns where packets for a go; ok is false if no client has it.
func (t *Table) Lookup(a netip.Addr) (to Sink, ok bool) { return t.sinks.Load().Lookup(a) }

// Has reports whether a client has a, or had it lately.
func (t *Table) Has(a netip.Addr) bool {
	_, ok := t.Lookup(a)
	return ok
}

// Detach takes p, whose connections have ended, from the table, unless a newer one has its seat.
// What waits for it, and what still comes, is held for its return if hold is true and there is
// room. It returns how many packets were dropped.
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
	// another's token may have a route of p's by now
	own := slices.DeleteFunc(p.prefixes(), func(prefix netip.Prefix) bool {
		at, ok := sinks.Get(prefix)
		return ok && at != Sink{Peer: p}
	})
	h := t.newHeld(p.Holder, own)
	if hold && t.holding < holdMost {
		h.queue = t.budget.NewQueue(t.holdLimit())
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

// holdLimit returns how many bytes of buffers may wait for one client: for all together no more
// than an eighth of the budget.
func (t *Table) holdLimit() int {
	if share := t.budget.Share(); share > 0 {
		return int(min(holdLimit, share/8/holdMost))
	}
	return holdLimit
}
