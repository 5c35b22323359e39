package peers

import (
	"net/netip"
	"sync"
	"time"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/transport/fq"
)

const (
	// holdTime is how long packets are held for a client that is away; less than lease.Rest.
	holdTime  = 2 * time.Minute
	holdLimit = 256 << 10 // bytes of buffers held for one client, at most
	holdMost  = 256       // clients for which packets are held, at most

	// quiet is the time without a packet after which nothing sends to an address any more: TCP
	// retransmits at least every 2 min (TCP_RTO_MAX).
	quiet = 2*time.Minute + 10*time.Second
)

// Held stands for a client that is away. For holdTime it queues the client's packets. A TCP sender
// retransmits less and less often, after an outage of half a minute once in half a minute, so a
// connection resumes at once only if the latest retransmission waits for the client's return. After
// holdTime, Held only records when packets come.
type Held struct {
	holder   lease.Holder
	prefixes []netip.Prefix
	since    time.Time
	now      func() time.Time

	mu    sync.Mutex
	queue *fq.Queue // nil if no packets are held
	last  time.Time // when the last packet came; since, if none has
}

func (t *Table) newHeld(holder lease.Holder, prefixes []netip.Prefix) *Held {
	now := t.now()
	return &Held{holder: holder, prefixes: prefixes, since: now, now: t.now, last: now}
}

// Add moves record i of b to the queue. It returns false, and leaves the record, if h does not hold
// packets any more.
func (h *Held) Add(b *packet.Batch, i int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.now()
	if h.queue == nil || h.last.Sub(h.since) >= holdTime {
		return false
	}
	h.queue.Push(b.Take(i))
	return true
}

// take moves the fresh packets of the client's own queue to that of h, and returns how many were
// lost.
func (h *Held) take(from *fq.Subflows) (lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range from.TakeFresh(fq.Fresh) {
		if h.queue == nil {
			waiting.Free()
			lost++
			continue
		}
		h.queue.Push(waiting.Compact())
	}
	return lost
}

// move moves the fresh packets to the client's own queue on its return.
func (h *Held) move(to *fq.Subflows) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue == nil {
		return
	}
	for _, waiting := range h.queue.TakeFresh(fq.Fresh) {
		to.Push(waiting)
	}
}

// busy returns how long no packet must come from now on for the client's address to be quiet.
func (h *Held) busy() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, quiet-h.now().Sub(h.last))
}

// end drops the queue, so that h holds no packets any more. It reports whether there was one, and
// returns how many packets it had dropped or still held.
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
