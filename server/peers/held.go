package server

import (
	"net/netip"
	"sync"
	"time"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/transport"
)

const (
	parkTime  = 2 * time.Minute // for which packets wait for a client that is away; less than lease.Rest
	parkLimit = 256 << 10       // bytes of buffers that wait for one client, at most
	parkMost  = 256             // clients that are waited for

	// fresh is how long a packet may have waited and still be sent, see transport.Queue.Salvage.
	fresh = 2 * time.Second

	// quiet is after which time without a packet nobody sends to an address any more: TCP repeats a segment every 2 min at
	// least (TCP_RTO_MAX).
	quiet = 2*time.Minute + 10*time.Second
)

// held is what there is for a client that is away. For some time its packets wait here: a TCP sender repeats less and less
// often, after an outage of half a minute once in half a minute; when what it has repeated last is there on the client's
// return, its connection goes on at once. After that held only tells whether there are any.
type held struct {
	holder   lease.Holder
	prefixes []netip.Prefix
	since    time.Time

	mu    sync.Mutex
	queue *transport.Queue // nil keeps nothing
	last  time.Time        // when a packet came last; since, if none came
}

func newHeld(holder lease.Holder, prefixes []netip.Prefix) *held {
	now := time.Now()
	return &held{holder: holder, prefixes: prefixes, since: now, last: now}
}

// add takes record i out of b, and returns false if it does not wait here.
func (h *held) add(b *packet.Batch, i int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = time.Now()
	if h.queue == nil || h.last.Sub(h.since) >= parkTime {
		return false
	}
	h.queue.Push(b.Take(i))
	return true
}

// take moves here what is still worth sending of a queue whose client has gone, and returns how many packets had no place.
func (h *held) take(from *transport.Lanes) (lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range from.Salvage(fresh) {
		if h.queue == nil {
			waiting.Free()
			lost++
			continue
		}
		h.queue.Push(waiting)
	}
	return lost
}

// move hands what is still worth sending to the queue of the client, which is there again.
func (h *held) move(to *transport.Lanes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue == nil {
		return
	}
	for _, waiting := range h.queue.Salvage(fresh) {
		to.Push(waiting)
	}
}

// busy returns for how much longer no packet may come before nobody sends to the client any more.
func (h *held) busy() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, quiet-time.Since(h.last))
}

// end throws away what waits, and whatever comes from now on. It returns how many packets were lost here, and whether there
// was a queue.
func (h *held) end() (had bool, lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queue == nil {
		return false, 0
	}
	waiting := h.queue.Salvage(parkTime)
	for _, p := range waiting {
		p.Free()
	}
	drops := h.queue.Drops()
	h.queue = nil
	return true, uint64(len(waiting)) + drops.Full + drops.Stale
}
