package server

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"tunnel/lease"
	"tunnel/transport"
)

// peers is the table of clients that are connected.
type peers struct {
	// Who gets what is for an address: clients by their own, and by the prefixes of their tokens. Packets find it without a
	// lock; it is never changed, only replaced.
	table atomic.Pointer[bart.Table[*peer]]

	mu       sync.Mutex // guards the rest, and the replacing
	byHolder map[lease.Holder]*peer
	byToken  map[string]map[*peer]struct{} // the same peers, by the token's id
}

func newPeers() *peers {
	t := &peers{byHolder: map[lease.Holder]*peer{}, byToken: map[string]map[*peer]struct{}{}}
	t.table.Store(new(bart.Table[*peer]))
	return t
}

// at returns the peer that gets packets for a, nil if there is none.
func (t *peers) at(a netip.Addr) *peer {
	p, _ := t.table.Load().Lookup(a)
	return p
}

// all returns the peers that have claimed their holder.
func (t *peers) all() []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.byHolder))
}

// with returns the peer that has claimed a holder, nil if there is none.
func (t *peers) with(h lease.Holder) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byHolder[h]
}

// claim makes p the connection of its holder. One that is there already is told that a newer one has come; nobody waits
// until it has heard that, for it is dead, most likely. What waited for it waits for p.
func (t *peers) claim(p *peer) {
	t.mu.Lock()
	old := t.byHolder[p.holder]
	if old != nil {
		t.release(old)
	}
	t.byHolder[p.holder] = p
	if t.byToken[p.token.ID] == nil {
		t.byToken[p.token.ID] = map[*peer]struct{}{}
	}
	t.byToken[p.token.ID][p] = struct{}{}
	t.mu.Unlock()
	if old == nil {
		return
	}
	old.cancel(&transport.CloseError{Code: transport.CodeReplaced, Reason: "a newer connection resumed the session"})
	for _, waiting := range old.queue.Salvage(fresh) {
		p.queue.Push(waiting)
	}
}

// address gives p, which has claimed its holder, the address at which packets find it, and its token's prefixes.
func (t *peers) address(p *peer, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.address = a
	table := t.table.Load()
	for _, prefix := range p.prefixes() {
		table = table.InsertPersist(prefix, p)
	}
	t.table.Store(table)
}

// remove takes p from the table. If no newer connection has taken its place it calls last before one can; from the moment
// at which last calls unlist no packet finds p.
func (t *peers) remove(p *peer, last func(unlist func())) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byHolder[p.holder] == p {
		t.release(p)
		last(func() { t.unlist(p) })
	}
	t.unlist(p)
}

// release undoes claim; the caller holds mu.
func (t *peers) release(p *peer) {
	delete(t.byHolder, p.holder)
	delete(t.byToken[p.token.ID], p)
	if len(t.byToken[p.token.ID]) == 0 {
		delete(t.byToken, p.token.ID)
	}
}

// unlist undoes address, where no other has come in p's place; the caller holds mu. It may be called twice.
func (t *peers) unlist(p *peer) {
	old := t.table.Load()
	table := old
	for _, prefix := range p.prefixes() {
		if at, ok := table.Get(prefix); ok && at == p {
			table = table.DeletePersist(prefix)
		}
	}
	if table != old {
		t.table.Store(table)
	}
}

// tokens returns the ids of the tokens that clients are connected with.
func (t *peers) tokens() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.byToken))
}

// of returns the peers that are connected with a token.
func (t *peers) of(id string) []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.byToken[id]))
}

// addressOf returns p's address, once it has one.
func (t *peers) addressOf(p *peer) (netip.Addr, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.address, p.address.IsValid()
}
