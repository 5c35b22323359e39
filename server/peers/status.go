package peers

import (
	"slices"
	"time"

	"tunnel/admin/status"
	"tunnel/policy"
	"tunnel/transport/fq"
)

// status returns the state of p, and what its session has sent and got. The system calls are made
// without a lock.
func (p *Peer) status() (status.Peer, usage) {
	u := usage{drops: p.Queue.Drops()}
	s := status.Peer{
		Name: p.Token.Name, Address: p.Address, Remote: p.Remote, Since: p.Since, Seen: p.Since,
		Queued: p.Queue.Held(), Drops: countsOf(u.drops), Connections: []status.Connection{},
	}
	p.subflows.mu.Lock()
	u.traffic = p.subflows.past
	wires := map[int]status.Wire{}
	for number, f := range p.subflows.open {
		if f.wire != nil {
			wires[number] = f.wire
		}
	}
	p.subflows.mu.Unlock()
	for number, wire := range wires {
		c := status.Of(number, wire)
		s.Connections = append(s.Connections, c)
		u.traffic.Add(c.Traffic())
		if seen := time.Now().Add(-wire.Silence()); seen.After(s.Seen) {
			s.Seen = seen
		}
	}
	s.Bytes = u.traffic.Bytes
	slices.SortFunc(s.Connections, func(a, b status.Connection) int { return a.Lane - b.Lane })
	return s, u
}

// countsOf returns the packets that queues to peers have dropped, by reason.
func countsOf(d fq.Drops) map[string]uint64 {
	counts := map[string]uint64{}
	for _, v := range []policy.Verdict{policy.QueueFull, policy.Memory, policy.CoDel, policy.Stale,
		policy.Cut} {
		counts[v.String()] = 0
	}
	status.AddDrops(counts, d)
	return counts
}
