package peers

import (
	"net/netip"
	"sync"
	"time"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/policy"
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
	// answerPause is the time between two answers for one client that is away; Linux limits those
	// of a router likewise (icmp_ratelimit in ip-sysctl.rst, 1 s for each receiver).
	answerPause = 20 * time.Millisecond
)

// Held stands for a client that is away. For holdTime it queues the client's packets. A TCP sender
// retransmits less and less often, after an outage of half a minute once in half a minute, so a
// connection resumes at once only if the latest retransmission waits for the client's return. After
// holdTime, Held only records when packets come.
type Held struct {
	holder  lease.Holder
	member  *policy.Member // nil if it left before this server started
	address netip.Prefix   // the zero Prefix if it was not here lately
	since   time.Time
	now     func() time.Time

	table *Table

	mu     sync.Mutex
	limit  int                  // bytes of buffers
	queues map[sender]*fq.Queue // none is empty; nil if no packets are held
	lost   uint64               // packets that queues dropped which are no more
	last   time.Time            // when the last packet came; since, if none has
	told   time.Time            // when Answer last returned true
}

// sender is from where packets come: from this machine and the networks behind it, or from the
// clients of a token. Each has a queue of its own, so that nobody's packets push out, or hide in a
// flow's bucket, those of others.
type sender struct {
	client bool
	token  string // its id
}

// senderRoom is what a queue takes beside its packets, in bytes, roughly.
const senderRoom = 1 << 10

func (t *Table) newHeld(holder lease.Holder, address netip.Prefix, m *policy.Member) *Held {
	now := t.now()
	return &Held{holder: holder, member: m, address: address, since: now, now: t.now, table: t,
		last: now}
}

// senderOf returns from where a packet comes. Its source is its sender's own: the policy has
// dropped others.
func (h *Held) senderOf(ip []byte) sender {
	switch from, ok := h.table.Lookup(packet.Source(ip)); {
	case ok && from.Peer != nil:
		return sender{client: true, token: from.Peer.Holder.Token}
	case ok:
		return sender{client: true, token: from.Held.holder.Token}
	}
	return sender{}
}

// Add moves record i of b to the queue. It returns false, and leaves the record, if h does not hold
// packets any more.
func (h *Held) Add(b *packet.Batch, i int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = h.now()
	if h.queues == nil || h.last.Sub(h.since) >= holdTime {
		return false
	}
	h.push(b.Take(i))
	return true
}

// Answer reports whether the sender of a packet that is not held is to be told that the client
// cannot be reached: at most once in answerPause.
func (h *Held) Answer() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if now.Sub(h.told) < answerPause {
		return false
	}
	h.told = now
	return true
}

// push adds p to its sender's queue. When all together have more than the limit, the largest loses
// packets. The caller holds mu, and h has queues.
func (h *Held) push(p *packet.Packet) {
	from := h.senderOf(p.IP())
	if h.queues[from] == nil {
		h.queues[from] = h.table.budget.NewQueue(h.limit)
	}
	h.queues[from].Push(p)
	for len(h.queues) > 1 { // else the queue's own limit does
		var largest sender
		most, all := int64(-1), int64(0)
		for s, q := range h.queues {
			size := q.Held()
			all += size + senderRoom
			if size > most {
				largest, most = s, size
			}
		}
		if all <= int64(h.limit) {
			return
		}
		q := h.queues[largest]
		_, dropped := q.Shed(max(most-1, 0)) // the budget may have emptied it
		if h.lost += dropped; q.Len() == 0 {
			h.close(largest)
		}
	}
}

// close removes the queue of a sender with its packets; the caller holds mu.
func (h *Held) close(from sender) {
	q := h.queues[from]
	delete(h.queues, from)
	q.Close()
	drops := q.Drops()
	h.lost += drops.Full + drops.Stale
}

// take moves the fresh packets of the client's own queue to those of h, and returns how many were
// lost.
func (h *Held) take(from *fq.Subflows) (lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, waiting := range from.TakeFresh(fq.Fresh) {
		if h.queues == nil {
			waiting.Free()
			lost++
			continue
		}
		h.push(waiting.Compact())
	}
	return lost
}

// move gives the fresh packets away on the client's return.
func (h *Held) move(give func(*packet.Packet)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for from, q := range h.queues {
		for _, waiting := range q.TakeFresh(fq.Fresh) {
			give(waiting)
		}
		h.close(from)
	}
}

// busy returns how long no packet must come from now on for the client's address to be quiet.
func (h *Held) busy() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(0, quiet-h.now().Sub(h.last))
}

// end drops the queues, so that h holds no packets any more. It reports whether there were any, and
// returns how many packets they had dropped or still held.
func (h *Held) end() (had bool, lost uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.queues == nil {
		return false, 0
	}
	for from, q := range h.queues {
		h.lost += uint64(q.Len())
		h.close(from)
	}
	h.queues = nil
	return true, h.lost
}
