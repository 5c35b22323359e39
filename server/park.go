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
	parkTime  = 2 * time.Minute // for which packets wait for a client that is away
	parkLimit = 256 << 10       // bytes of buffers that wait for one client, at most
	parkMost  = 256             // clients that are waited for

	// fresh is how long a packet may have waited and still be sent, see transport.Queue.Salvage.
	fresh = 2 * time.Second
)

// parking is where packets wait for clients whose connection is broken. A TCP sender repeats less and less often, after an
// outage of half a minute once in half a minute; when what it has repeated last is there on the client's return, its
// connection goes on at once.
type parking struct {
	budget *transport.Budget

	mu   sync.Mutex
	lots map[netip.Addr]*lot
}

// A lot is what waits for one client.
type lot struct {
	holder lease.Holder
	queue  *transport.Queue
	until  time.Time
}

// limit returns how many bytes of buffers may wait for one client: all together no more than an eighth of the budget.
func (k *parking) limit() int {
	if share := k.budget.Share(); share > 0 {
		return int(min(parkLimit, share/8/parkMost))
	}
	return parkLimit
}

// open makes room for p, which has just gone, and moves there what waits for it. It calls unlist, after which packets do
// not find p any more, but wait to be added here. It returns how many packets were thrown away that waited for others,
// whose time is over.
func (k *parking) open(p *peer, unlist func()) (lost uint64) {
	l := &lot{p.holder, k.budget.NewQueue(k.limit()), time.Now().Add(parkTime)}
	k.mu.Lock()
	defer k.mu.Unlock()
	unlist()
	for _, waiting := range p.queue.Salvage(fresh) {
		l.queue.Push(waiting)
	}
	if k.lots == nil {
		k.lots = map[netip.Addr]*lot{}
	}
	for address, other := range k.lots {
		if address == p.address || time.Now().After(other.until) {
			lost += other.clear()
			delete(k.lots, address)
		}
	}
	if len(k.lots) >= parkMost {
		return lost + l.clear()
	}
	k.lots[p.address] = l
	return lost
}

// add takes record i out of b if the client with that address is waited for.
func (k *parking) add(address netip.Addr, b *packet.Batch, i int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lots[address]
	if l == nil || time.Now().After(l.until) {
		return false
	}
	l.queue.Push(b.Take(i))
	return true
}

// move hands what waits for p, which is there again, to its queue. What waits for another who had this address is thrown
// away: nobody gets packets that were meant for somebody else. It returns how many packets were.
func (k *parking) move(p *peer) (lost uint64) {
	k.mu.Lock()
	l := k.lots[p.address]
	delete(k.lots, p.address)
	k.mu.Unlock()
	switch {
	case l == nil:
		return 0
	case l.holder != p.holder:
		return l.clear()
	}
	for _, waiting := range l.queue.Salvage(fresh) {
		p.queue.Push(waiting)
	}
	drops := l.queue.Drops()
	return drops.Full + drops.Stale
}

// end throws away what waits for the clients of a token, and returns how many packets that were.
func (k *parking) end(token string) (lost uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for address, l := range k.lots {
		if l.holder.Token == token {
			lost += l.clear()
			delete(k.lots, address)
		}
	}
	return lost
}

// clear frees what waits, and returns how many packets that were, with those that had no room.
func (l *lot) clear() uint64 {
	waiting := l.queue.Salvage(parkTime)
	for _, p := range waiting {
		p.Free()
	}
	drops := l.queue.Drops()
	return uint64(len(waiting)) + drops.Full + drops.Stale
}
