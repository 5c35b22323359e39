package peers

import (
	"cmp"
	"net/netip"
	"slices"

	"tunnel/admin/status"
	"tunnel/lease"
	"tunnel/transport/fq"
)

// usage is what clients have sent and got in sessions that are over.
type usage struct {
	name    string // of their token
	begun   uint64 // sessions, also those that are not over
	traffic status.Traffic
	drops   fq.Drops
}

func (u *usage) add(more usage) {
	u.begun += more.begun
	u.traffic.Add(more.traffic)
	u.drops.Add(more.drops)
}

// begin counts the session of p; the caller holds mu.
func (t *Table) begin(p *Peer) {
	u := t.used[p.Token.ID]
	if u == nil {
		u = &usage{name: p.Token.Name}
		t.used[p.Token.ID] = u
	}
	u.begun++
	t.counted[p] = true
}

// Retire adds what p has sent and got to that of its token. It is called once, when p was detached
// and its queue is closed.
func (t *Table) Retire(p *Peer) {
	_, last := p.status()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.counted, p)
	u := t.used[p.Token.ID]
	if u == nil { // revoked
		u = &t.gone
	}
	u.add(last)
}

// revoke forgets the name of a token; the caller holds mu. What its clients have sent and got stays
// part of the whole.
func (t *Table) revoke(token string) {
	if u := t.used[token]; u != nil {
		t.gone.add(*u)
		delete(t.used, token)
	}
}

// A Status is of all clients.
type Status struct {
	Peers   []status.Peer  // that are connected, by their addresses
	Tokens  []status.Usage // by name
	Traffic status.Traffic // of all, since the start
	Drops   fq.Drops       // of their queues, since the start
}

// Status returns the state of the clients, behind which there are these networks. No count in it is
// less than in an earlier one. The system calls are made without a lock.
func (t *Table) Status(behind map[lease.Holder][]netip.Prefix) Status {
	now := Status{Peers: []status.Peer{}, Tokens: []status.Usage{}}
	t.mu.Lock()
	all, used := t.gone, make(map[string]usage, len(t.used)) // by the token's ID
	for id, u := range t.used {
		used[id] = *u
	}
	connected := make(map[*Peer]bool, len(t.counted))
	for p := range t.counted {
		s := t.seats[p.Holder]
		connected[p] = s != nil && s.peer == p
	}
	t.mu.Unlock()
	here := map[string]int{} // sessions by the token's ID
	for p, seated := range connected {
		peer, u := p.status()
		if seated {
			peer.Networks = append([]netip.Prefix{}, behind[p.Holder]...)
			now.Peers = append(now.Peers, peer)
			here[p.Token.ID]++
		}
		if of, ok := used[p.Token.ID]; ok {
			of.add(u)
			used[p.Token.ID] = of
		} else { // its token was revoked
			all.add(u)
		}
	}
	names, sessions := make(map[string]usage, len(used)), make(map[string]int, len(used))
	for id, u := range used {
		all.add(u)
		u.add(names[u.name])
		names[u.name] = u
		sessions[u.name] += here[id]
	}
	for name, u := range names {
		now.Tokens = append(now.Tokens, status.Usage{Name: name, Sessions: sessions[name],
			Begun: u.begun, Traffic: u.traffic, Drops: countsOf(u.drops)})
	}
	now.Traffic, now.Drops = all.traffic, all.drops
	slices.SortFunc(now.Peers, func(a, b status.Peer) int { return a.Address.Compare(b.Address) })
	slices.SortFunc(now.Tokens, func(a, b status.Usage) int { return cmp.Compare(a.Name, b.Name) })
	return now
}
