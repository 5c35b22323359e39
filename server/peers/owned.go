package peers

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"tunnel/lease"
)

// Own makes networks those that lie behind clients, each with the id of its token, which belongs to
// one client. From the next packet on these tokens alone decide where a network leads; what a
// client's token had when it came here does not count. None may overlap the clients' addresses.
func (t *Table) Own(networks map[netip.Prefix]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sinks := t.sinks.Load()
	for _, all := range t.owned {
		for _, prefix := range all {
			if networks[prefix] == "" {
				sinks = sinks.DeletePersist(prefix)
			}
		}
	}
	t.owned = map[string][]netip.Prefix{}
	for prefix, token := range networks {
		t.owned[token] = append(t.owned[token], prefix)
	}
	for token := range t.unknown {
		if t.owned[token] == nil {
			delete(t.unknown, token)
		}
	}
	for token := range t.owned {
		sinks = t.lead(sinks, lease.Holder{Token: token})
	}
	if sinks != t.sinks.Load() {
		t.sinks.Store(sinks)
	}
}

// lead returns sinks in which the networks behind the client of h lead to what it is now,
// connected, away or not known; the caller holds mu.
func (t *Table) lead(sinks *bart.Table[Sink], h lease.Holder) *bart.Table[Sink] {
	if h.Machine != "" || len(t.owned[h.Token]) == 0 {
		return sinks
	}
	to := t.of(h)
	for _, prefix := range t.owned[h.Token] {
		if at, ok := sinks.Get(prefix); !ok || at != to {
			sinks = sinks.InsertPersist(prefix, to)
		}
	}
	return sinks
}

// of returns where packets for the only client of a token go; the caller holds mu.
func (t *Table) of(h lease.Holder) Sink {
	if s := t.seats[h]; s != nil && s.peer != nil {
		delete(t.unknown, h.Token)
		return Sink{Peer: s.peer}
	}
	if held := t.away[h]; held != nil {
		delete(t.unknown, h.Token)
		return Sink{Held: held}
	}
	if t.unknown[h.Token] == nil { // it holds no packets, and limits answers
		t.unknown[h.Token] = t.newHeld(h, netip.Prefix{}, nil)
	}
	return Sink{Held: t.unknown[h.Token]}
}
