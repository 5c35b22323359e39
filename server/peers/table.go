package server

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

// A sink is where packets for an address go: to a peer, or to what is held for one that is away. One of the two is set.
type sink struct {
	peer *peer
	held *held
}

// peers is the table of clients, of those that are connected and of those that have left lately.
//
// Nothing waits while mu is held, neither for a disk nor for another lock but those of the packets' queues.
type peers struct {
	// Who gets what is for an address: clients by their own, and by the prefixes of their tokens. Packets find it without a
	// lock; it is never changed, only replaced.
	table atomic.Pointer[bart.Table[sink]]

	mu      sync.Mutex // guards the rest, and the replacing
	seats   map[lease.Holder]*seat
	byToken map[string]map[lease.Holder]*seat // the same seats, by the token's id
	away    map[lease.Holder]*held
	kept    int // of away: those that have a queue

	budget *transport.Budget // of all queues; nil is no limit
}

// A seat is a session: one that is there, one that is being admitted, or both when it is resumed.
type seat struct {
	peer     *peer // nil before there is one
	entering bool
}

func newPeers(budget *transport.Budget) *peers {
	t := &peers{
		seats: map[lease.Holder]*seat{}, byToken: map[string]map[lease.Holder]*seat{}, away: map[lease.Holder]*held{},
		budget: budget,
	}
	t.table.Store(new(bart.Table[sink]))
	return t
}

// at returns where packets for a go; ok is false if nobody has it.
func (t *peers) at(a netip.Addr) (to sink, ok bool) { return t.table.Load().Lookup(a) }

// all returns the peers.
func (t *peers) all() (all []*peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.seats {
		if s.peer != nil {
			all = append(all, s.peer)
		}
	}
	return all
}

// with returns the peer of a holder, nil if there is none.
func (t *peers) with(h lease.Holder) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.seats[h]; s != nil {
		return s.peer
	}
	return nil
}

// reserve keeps a seat for a session that is being admitted, until enter or abandon. It returns false if the token has as
// many as most already, which is no limit if it is 0; a session that is there is not one more. The next call for a holder
// must not begin before enter or abandon.
func (t *peers) reserve(h lease.Holder, most int) bool {
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
	s.entering = true
	return true
}

// abandon undoes reserve.
func (t *peers) abandon(h lease.Holder) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seats[h].entering = false
	t.clear(h)
}

// clear gives up a seat that nobody has; the caller holds mu.
func (t *peers) clear(h lease.Holder) {
	if s := t.seats[h]; s.peer != nil || s.entering {
		return
	}
	delete(t.seats, h)
	delete(t.byToken[h.Token], h)
	if len(t.byToken[h.Token]) == 0 {
		delete(t.byToken, h.Token)
	}
}

// enter makes p, whose seat is reserved, the connection of its holder: from now on packets find it. One that is there
// already is told that a newer one has come; nobody waits until it has heard that, for it is dead, most likely. What waited
// for that one, or for the holder's return, waits for p; what waited for another that had p's address is thrown away, and
// enter returns how many packets that were.
func (t *peers) enter(p *peer) (lost uint64) {
	old, lost := t.take(p)
	if old != nil {
		old.cancel(&transport.CloseError{Code: transport.CodeReplaced, Reason: "a newer connection resumed the session"})
	}
	return lost
}

// take is enter but for the word to the old connection, which it returns; nil is that there is none.
func (t *peers) take(p *peer) (old *peer, lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[p.holder]
	held := t.away[p.holder]
	old = s.peer
	s.peer, s.entering = p, false
	move := func() {
		if held != nil {
			held.move(p.queue)
		}
		if old != nil {
			for _, waiting := range old.queue.Salvage(fresh) {
				p.queue.Push(waiting)
			}
		}
	}
	move() // before what comes now, of the same flows
	table := t.table.Load()
	var left []netip.Prefix
	if held != nil {
		table = without(table, held.prefixes, sink{held: held})
		left = held.prefixes
	}
	if old != nil {
		table = without(table, old.prefixes(), sink{peer: old})
		left = old.prefixes()
	}
	for _, prefix := range p.prefixes() {
		if other, ok := table.Get(prefix); ok && other.held != nil {
			lost += t.forget(other.held)
			table = without(table, other.held.prefixes, other)
		}
		table = table.InsertPersist(prefix, sink{peer: p})
	}
	if len(left) > 0 && left[0].Addr() != p.address { // it has moved to another address
		table = t.watched(table, left[0])
	}
	t.table.Store(table)
	move() // what came while the table was made
	if held != nil {
		lost += t.forget(held)
	}
	return old, lost
}

// without returns table without the prefixes that lead to s.
func without(table *bart.Table[sink], prefixes []netip.Prefix, s sink) *bart.Table[sink] {
	for _, prefix := range prefixes {
		if at, ok := table.Get(prefix); ok && at == s {
			table = table.DeletePersist(prefix)
		}
	}
	return table
}

// remove takes p, whose connections have ended, from the table, unless a newer one has its place. What waits for it, and
// what still comes, is kept for its return if keep is true and there is room. It returns how many packets were thrown away.
func (t *peers) remove(p *peer, keep bool) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.seats[p.holder]
	if s == nil || s.peer != p {
		return 0
	}
	s.peer = nil
	t.clear(p.holder)
	table := t.table.Load()
	own := slices.DeleteFunc(p.prefixes(), func(prefix netip.Prefix) bool { // another's token may have a route of p's by now
		at, ok := table.Get(prefix)
		return ok && at != sink{peer: p}
	})
	h := newHeld(p.holder, own)
	if keep && t.kept < parkMost {
		h.queue = t.budget.NewQueue(t.parkLimit())
		t.kept++
	}
	lost = h.take(p.queue)
	for _, prefix := range h.prefixes {
		table = table.InsertPersist(prefix, sink{held: h})
	}
	t.table.Store(table)
	t.away[p.holder] = h
	return lost + h.take(p.queue)
}

// parkLimit returns how many bytes of buffers may wait for one client: for all together no more than an eighth of the budget.
func (t *peers) parkLimit() int {
	if share := t.budget.Share(); share > 0 {
		return int(min(parkLimit, share/8/parkMost))
	}
	return parkLimit
}

// watch looks who still sends to an address that somebody had before this server began.
func (t *peers) watch(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.Store(t.watched(t.table.Load(), netip.PrefixFrom(a, a.BitLen())))
}

// nobody is in the place of a token's id, none of which has a blank.
const nobody = " "

// watched returns table with an address that was left for good; the caller holds mu.
func (t *peers) watched(table *bart.Table[sink], a netip.Prefix) *bart.Table[sink] {
	h := newHeld(lease.Holder{Token: nobody, Machine: a.String()}, []netip.Prefix{a})
	t.away[h.holder] = h
	return table.InsertPersist(a, sink{held: h})
}

// busy returns for how much longer nobody may send to an address whose client is away before it counts as left alone, as far
// as is known.
func (t *peers) busy(a netip.Addr) time.Duration {
	if to, ok := t.at(a); ok && to.held != nil {
		return to.held.busy()
	}
	return 0
}

// sweep throws away what was held for long enough, and returns how many packets that were.
func (t *peers) sweep(now time.Time) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	table := t.table.Load()
	for _, h := range t.away {
		switch since := now.Sub(h.since); {
		case since >= lease.LongRest:
			lost += t.forget(h)
			table = without(table, h.prefixes, sink{held: h})
		case since >= parkTime:
			lost += t.drop(h)
		}
	}
	if table != t.table.Load() {
		t.table.Store(table)
	}
	return lost
}

// end throws away what waits for the clients of a token, and returns how many packets that were.
func (t *peers) end(token string) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for holder, h := range t.away {
		if holder.Token == token {
			lost += t.drop(h)
		}
	}
	return lost
}

// drop ends the queue of h, and returns how many packets waited there; the caller holds mu, as for forget.
func (t *peers) drop(h *held) (lost uint64) {
	had, lost := h.end()
	if had {
		t.kept--
	}
	return lost
}

// forget ends h.
func (t *peers) forget(h *held) (lost uint64) {
	if t.away[h.holder] == h {
		delete(t.away, h.holder)
	}
	return t.drop(h)
}

// tokens returns the ids of the tokens that clients are connected with.
func (t *peers) tokens() (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byToken {
		ids = append(ids, id)
	}
	return ids
}

// of returns the peers that are connected with a token.
func (t *peers) of(id string) (all []*peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byToken[id] {
		if s.peer != nil {
			all = append(all, s.peer)
		}
	}
	return all
}
