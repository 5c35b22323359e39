package peers

import (
	"net/netip"
	"sync"
	"time"
	"tunnel/transport/fq"

	"tunnel/lease"
	"tunnel/packet"
)

const (
	// for which packets wait for a client that is away; less than lease.Rest
	holdTime  = 2 * time.Minute
	holdLimit = 256 << 10 // bytes of buffers that wait for one client, at most
	holdMost  = 256       // clients whose packets wait, at most

	// fresh is how long a packet may have waited and still be sent, see fq.Queue.TakeFresh.
	fresh = 2 * time.Second

	// quiet is the time without a packet after which nobody sends to an address any more: TCP
	// repeats a segment every 2 min at least (TCP_RTO_MAX).
	quiet = 2*time.Minute + 10*time.Second
)

// Held stands for a client that is away. For holdTime its packets wait here: a TCP sender repeats
// less and less often, after an outage of half a minute once in half a minute, so its connection
// goes on at once if the last repetition is there on the client's return. After that Held only
// notes whether packets still come.
type Held struct {
	holder   lease.Holder
	prefixes []netip.Prefix
	since    time.Time
	now      func() time.Time

	mu    sync.Mutex
	queue *fq.Queue // nil keeps nothing
	last  time.Time // when a packet came last; since, if none came
}

func (t *Table) newHeld(holder lease.Holder, prefixes []netip.Prefix) *Held {
	now := t.now()
	return &Held{holder: holder, prefixes: prefixes, since: now, now: t.now, last: now}
}

// Add takes record i out of b, and returns false if it does not wait here.
func (h *Held) Add(b *packet.Batch, i int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.now()
	if h.queue == nil || h.last.Sub(h.since) >= holdTime {
		return false
	}
	h.queue.Push(b.Take(i).Compact())
	return true
}

// take moves here what is still worth sending of the queue of a client that has left, and returns
// how many packets were lost.
func (h *Held) take(from *fq.Subflows) (lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range from.TakeFresh(fresh) {
		if h.queue == nil {
			waiting.Free()
			lost++
			continue
		}
		h.queue.Push(waiting.Compact())
	}
	return lost
}

// move hands what is still worth sending to the queue of the client, which is back.
func (h *Held) move(to *fq.Subflows) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue == nil {
		return
	}
	for _, waiting := range h.queue.TakeFresh(fresh) {
		to.Push(waiting)
	}
}

// busy returns for how much longer no packet may come before the client's address counts as quiet.
func (h *Held) busy() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, quiet-h.now().Sub(h.last))
}

// end drops what waits and what comes from now on. It returns how many packets were lost here, and
// whether there was a queue.
func (h *Held) end() (had bool, lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue == nil {
		return false, 0
	}
	waiting := h.queue.TakeFresh(holdTime)
	for _, p := range waiting {
		p.Free()
	}
	drops := h.queue.Drops()
	h.queue = nil
	return true, uint64(len(waiting)) + drops.Full + drops.Stale
}
