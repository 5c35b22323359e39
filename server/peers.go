package server

import (
	"net/netip"
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
	byToken  map[string]map[*peer]struct{} // by the token's id
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

// claim makes p the connection of its holder. One that is there already is told that a newer one has come, and claim
// waits until it is gone.
func (t *peers) claim(p *peer) {
	for {
		t.mu.Lock()
		old := t.byHolder[p.holder]
		if old == nil {
			t.byHolder[p.holder] = p
			if t.byToken[p.token.ID] == nil {
				t.byToken[p.token.ID] = map[*peer]struct{}{}
			}
			t.byToken[p.token.ID][p] = struct{}{}
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		old.cancel(&transport.CloseError{Code: transport.CodeReplaced, Reason: "a newer connection resumed the session"})
		<-old.gone
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

func (t *peers) remove(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byHolder, p.holder)
	delete(t.byToken[p.token.ID], p)
	if len(t.byToken[p.token.ID]) == 0 {
		delete(t.byToken, p.token.ID)
	}
	table := t.table.Load()
	for _, prefix := range p.prefixes() {
		if at, ok := table.Get(prefix); ok && at == p {
			table = table.DeletePersist(prefix)
		}
	}
	t.table.Store(table)
}

// prefixes returns all for which p gets packets.
func (p *peer) prefixes() []netip.Prefix {
	if !p.address.IsValid() {
		return nil
	}
	return append([]netip.Prefix{netip.PrefixFrom(p.address, p.address.BitLen())}, p.token.Routes...)
}

// tokens returns the ids of the tokens that clients are connected with.
func (t *peers) tokens() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]string, 0, len(t.byToken))
	for id := range t.byToken {
		all = append(all, id)
	}
	return all
}

// of returns the peers that are connected with a token.
func (t *peers) of(id string) []*peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*peer, 0, len(t.byToken[id]))
	for p := range t.byToken[id] {
		all = append(all, p)
	}
	return all
}

// addressOf returns p's address, once it has one.
func (t *peers) addressOf(p *peer) (netip.Addr, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return p.address, p.address.IsValid()
}
