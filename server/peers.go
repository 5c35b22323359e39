package server

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"tunnel/transport"
)

// peers is the table of clients that are connected, by address for packets and by holder for sessions.
type peers struct {
	mu        sync.RWMutex
	byAddress map[netip.Addr]*peer
	byHolder  map[string]*peer
}

func newPeers() peers {
	return peers{byAddress: map[netip.Addr]*peer{}, byHolder: map[string]*peer{}}
}

// at returns the peer that has address a, nil if there is none.
func (t *peers) at(a netip.Addr) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byAddress[a]
}

// all returns the peers that have claimed their holder.
func (t *peers) all() []*peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Collect(maps.Values(t.byHolder))
}

// claim makes p the connection of its holder. One that is there already is told that a newer one has come; nobody waits
// until it has heard that, for it is dead, most likely. What waited for it waits for p.
func (t *peers) claim(p *peer) {
	t.mu.Lock()
	old := t.byHolder[p.holder]
	t.byHolder[p.holder] = p
	t.mu.Unlock()
	if old == nil {
		return
	}
	old.cancel(&transport.CloseError{Code: transport.CodeReplaced, Reason: "a newer connection resumed the session"})
	for _, waiting := range old.queue.Salvage(fresh) {
		p.queue.Push(waiting)
	}
}

// address gives p, which has claimed its holder, the address at which packets find it.
func (t *peers) address(p *peer, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.address = a
	t.byAddress[a] = p
}

// remove takes p from the table. If no newer connection has taken its place it calls last before one can.
func (t *peers) remove(p *peer, last func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byAddress[p.address] == p {
		delete(t.byAddress, p.address)
	}
	if t.byHolder[p.holder] == p {
		delete(t.byHolder, p.holder)
		last()
	}
}
