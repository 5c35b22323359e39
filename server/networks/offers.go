package networks

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"tunnel/lease"
)

// A client may change what it advertises some times at once, and then once in offerPause: each
// change has this machine set routes, and with client-to-client all other clients, too.
const (
	offerBurst = 5
	offerPause = 30 * time.Second
)

// An offer is what a client advertises of the networks that its token had then.
type offer struct {
	wanted  []netip.Prefix
	taken   []netip.Prefix // what holds; wanted, unless it has changed too often
	changes *rate.Limiter
}

// settle takes what is wanted if that may change now, and reports whether it did.
func (o *offer) settle(now time.Time) bool {
	if slices.Equal(o.wanted, o.taken) || !o.changes.AllowN(now, 1) {
		return false
	}
	o.taken = o.wanted
	return true
}

// offer notes what a client advertises, and reports whether that has to wait.
func (n *Networks) offer(h lease.Holder, all []netip.Prefix) (late bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.offers[h]
	if o == nil {
		if len(all) == 0 {
			return false
		}
		o = &offer{changes: rate.NewLimiter(rate.Every(offerPause), offerBurst)}
		n.offers[h] = o
	}
	o.wanted = all
	if o.settle(n.Now()) {
		n.ring()
	}
	return !slices.Equal(o.wanted, o.taken)
}

// Settle takes what clients have advertised and had to wait, as far as it may change by now.
func (n *Networks) Settle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.offers {
		if o.settle(n.Now()) {
			n.ring()
		}
	}
}

// Forget discards what holders advertise for whom gone returns true.
func (n *Networks) Forget(gone func(lease.Holder) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for h := range n.offers {
		if gone(h) {
			delete(n.offers, h)
			n.ring()
		}
	}
}

// Offered returns what clients advertise and the hub routes, by their holders.
func (n *Networks) Offered() map[lease.Holder][]netip.Prefix {
	n.telling.Lock()
	defer n.telling.Unlock()
	c, all := n.scene(), map[lease.Holder][]netip.Prefix{}
	n.mu.Lock()
	defer n.mu.Unlock()
	for h, o := range n.offers {
		for _, p := range o.taken {
			if owner, ok := c.owner(p); ok && owner == h.Token {
				all[h] = append(all[h], p)
			}
		}
	}
	return all
}

// offered returns what clients advertise, by the ids of tokens.
func (n *Networks) offered() map[string][]netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string][]netip.Prefix{}
	for h, o := range n.offers {
		all[h.Token] = append(all[h.Token], o.taken...)
	}
	return all
}
