package meter

import (
	"sync"
	"time"

	"tunnel/packet"
)

// A Way is where packets go.
type Way bool

// The ways.
const (
	In  Way = false // from a connection to this machine
	Out Way = true  // through a queue to a connection
)

// Count is what has been counted of a flow, or of several.
type Count struct {
	Bytes, Packets  uint64 // sent or written: IP packets with their headers, super-packets as segments
	Marked, Dropped uint64 // packets, by queues; also segments
}

// Add adds more to c.
func (c *Count) Add(more Count) {
	c.Bytes += more.Bytes
	c.Packets += more.Packets
	c.Marked += more.Marked
	c.Dropped += more.Dropped
}

// sub returns c without less.
func (c Count) sub(less Count) Count {
	return Count{c.Bytes - less.Bytes, c.Packets - less.Packets, c.Marked - less.Marked,
		c.Dropped - less.Dropped}
}

// Flow is one flow, in one direction.
type Flow struct {
	packet.Flow
	Way Way
	Count
	Delay, MaxDelay time.Duration // in the queue, of packets that were sent: mean and longest
}

// Flows are the flows of one measurement.
type Flows struct {
	Took   time.Duration
	Flows  []Flow // in no order
	Total  Count
	Others Count // of Total, what was not counted for one of Flows
}

const (
	// shards is the number of parts of a table, each with a lock of its own.
	shards = 16
	// shardFlows bounds the flows of a part.
	shardFlows = 64
)

// MostFlows is the most flows that a measurement returns.
const MostFlows = shards * shardFlows

// table counts flows in a bounded space, whatever is sent: by the algorithm Space-Saving (Metwally,
// Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, 2005)
// in each shard. A flow that finds no room takes the entry of the one with the least weight, and
// inherits the weight, so that each flow with more than a 64th of a shard's bytes, sent or dropped,
// has an entry.
// Flows are returned with what was counted of them since they have the entry, never with what they
// have inherited.
type table [shards]shard

type shard struct {
	mu      sync.Mutex
	entries [shardFlows]entry
	used    int                // of entries
	heads   [shardFlows]*entry // the entries by their hashes, linked by next
	total   Count
}

type key struct {
	packet.Flow
	way Way
}

type entry struct {
	key     key
	hash    uint32
	next    *entry // of the same head
	weight  uint64 // bytes, sent or dropped, with those that were inherited
	count   Count
	waited  uint64 // how many delays are in delay
	delay   time.Duration
	longest time.Duration
}

// note adds c, the weight, and the delay unless that is unqueued, to the flow k, whose packets have
// this hash.
func (t *table) note(hash uint32, k key, c Count, weight uint64, delay time.Duration) {
	s := &t[hash>>16%shards] // the lower bits choose the head
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Add(c)
	e := *s.head(hash)
	for e != nil && e.key != k {
		e = e.next
	}
	if e == nil {
		e = s.take(hash, k)
	}
	e.weight += weight
	e.count.Add(c)
	if delay != unqueued {
		e.waited++
		e.delay += delay
		e.longest = max(e.longest, delay)
	}
}

func (s *shard) head(hash uint32) **entry { return &s.heads[hash%shardFlows] }

// take returns a new entry for k.
func (s *shard) take(hash uint32, k key) *entry {
	e := &s.entries[0]
	if s.used < shardFlows {
		e = &s.entries[s.used]
		s.used++
	} else {
		for i := range s.entries {
			if s.entries[i].weight < e.weight {
				e = &s.entries[i]
			}
		}
		at := s.head(e.hash)
		for *at != e {
			at = &(*at).next
		}
		*at = e.next
	}
	head := s.head(hash)
	*e = entry{key: k, hash: hash, next: *head, weight: e.weight}
	*head = e
	return e
}

// flows returns what was counted. Nothing must be counted in t afterwards that is to be seen.
func (t *table) flows(took time.Duration) Flows {
	all := Flows{Took: took, Flows: make([]Flow, 0, MostFlows)}
	for i := range t {
		s := &t[i]
		s.mu.Lock()
		all.Total.Add(s.total)
		rest := s.total
		for i := range s.entries[:s.used] {
			e := &s.entries[i]
			rest = rest.sub(e.count)
			f := Flow{Flow: e.key.Flow, Way: e.key.way, Count: e.count, MaxDelay: e.longest}
			if e.waited > 0 {
				f.Delay = e.delay / time.Duration(e.waited)
			}
			all.Flows = append(all.Flows, f)
		}
		all.Others.Add(rest)
		s.mu.Unlock()
	}
	return all
}
