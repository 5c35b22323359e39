package server

import (
	"net/netip"
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

// claim makes p the connection of its holder. One that is there already is told that a newer one has come, and claim
// waits until it is gone.
func (t *peers) claim(p *peer) {
	for {
		t.mu.Lock()
		old := t.byHolder[p.holder]
		if old == nil {
			t.byHolder[p.holder] = p
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		old.cancel(&transport.CloseError{Code: transport.CodeReplaced, Reason: "a newer connection resumed the session"})
		<-old.gone
	}
}

// address gives p, which has claimed its holder, the address at which packets find it.
func (t *peers) address(p *peer, a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.address = a
	t.byAddress[a] = p
}

func (t *peers) remove(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byHolder, p.holder)
	if t.byAddress[p.address] == p {
		delete(t.byAddress, p.address)
	}
}
