package peers

import (
	"tunnel/lease"
	"tunnel/policy"
)

// All returns the connected peers.
func (t *Table) All() (all []*Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.seats {
		if s.peer != nil {
			all = append(all, s.peer)
		}
	}
	return all
}

// OfHolder returns the peer of a holder, nil if it is not connected.
func (t *Table) OfHolder(h lease.Holder) *Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.seats[h]; s != nil {
		return s.peer
	}
	return nil
}

// OfToken returns the connected peers of a token.
func (t *Table) OfToken(id string) (all []*Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.byToken[id] {
		if s.peer != nil {
			all = append(all, s.peer)
		}
	}
	return all
}

// Tokens returns the ids of the tokens of connected clients, and of those being admitted.
func (t *Table) Tokens() (ids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byToken {
		ids = append(ids, id)
	}
	return ids
}

// Members returns the clients, by their tokens' ids: those that are connected, and those that have
// left lately.
func (t *Table) Members() map[string][]*policy.Member {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[string][]*policy.Member{}
	for holder, s := range t.seats {
		if s.peer != nil {
			all[holder.Token] = append(all[holder.Token], s.peer.Member)
		}
	}
	for holder, h := range t.away {
		if h.member != nil {
			all[holder.Token] = append(all[holder.Token], h.member)
		}
	}
	return all
}

// Knows reports whether a holder is connected, or has left lately.
func (t *Table) Knows(h lease.Holder) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, away := t.away[h]
	s := t.seats[h]
	return away || s != nil && s.peer != nil
}
