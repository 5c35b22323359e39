package peers

import (
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"tunnel/lease"
)

// Watch records from now on when packets come for an address that a client had before this server
// started.
func (t *Table) Watch(a netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sinks.Store(t.watched(t.sinks.Load(), netip.PrefixFrom(a, a.BitLen())))
}

// noToken stands in place of a token's id, none of which has a blank.
const noToken = " "

// watched returns sinks with an address that no client has any more; the caller holds mu.
func (t *Table) watched(sinks *bart.Table[Sink], a netip.Prefix) *bart.Table[Sink] {
	h := t.newHeld(lease.Holder{Token: noToken, Machine: a.String()}, a, nil)
	t.away[h.holder] = h
	return sinks.InsertPersist(a, Sink{Held: h})
}

// Busy returns how much longer an address whose client is away must get no packet before it counts
// as quiet, 0 if it is quiet or unknown.
func (t *Table) Busy(a netip.Addr) time.Duration {
	if to, ok := t.Lookup(a); ok && to.Held != nil {
		return to.Held.busy()
	}
	return 0
}

// Sweep drops the packets of clients that have been away for holdTime, and forgets those that have
// been away for lease.LongRest. It returns how many packets were dropped.
func (t *Table) Sweep() (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	sinks := t.sinks.Load()
	for _, h := range t.away {
		switch since := now.Sub(h.since); {
		case since >= lease.LongRest:
			lost += t.forget(h)
			sinks = t.lead(without(sinks, Sink{Held: h}, h.address), h.holder)
		case since >= holdTime:
			lost += t.drop(h)
		}
	}
	if sinks != t.sinks.Load() {
		t.sinks.Store(sinks)
	}
	return lost
}

// DropHeld drops the packets held for the clients of a token that was revoked, and returns how many
// there were.
func (t *Table) DropHeld(token string) (lost uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revoke(token)
	for holder, h := range t.away {
		if holder.Token == token {
			lost += t.drop(h)
		}
	}
	return lost
}

// drop ends the queue of h, and returns how many packets were lost; the caller holds mu.
func (t *Table) drop(h *Held) (lost uint64) {
	had, lost := h.end()
	if had {
		t.holding--
	}
	return lost
}

// forget removes h from away, and drops its packets; the caller holds mu.
func (t *Table) forget(h *Held) (lost uint64) {
	if t.away[h.holder] == h {
		delete(t.away, h.holder)
	}
	return t.drop(h)
}
