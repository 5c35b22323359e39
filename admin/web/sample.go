package web

import (
	"net/netip"
	"sync"
	"time"

	"tunnel/admin/status"
	"tunnel/server"
)

const (
	// sampleAge is the age up to which all who look are shown the same sample: the hub is asked no
	// more often, and never when nobody looks.
	sampleAge = time.Second
	// sampleGap is the time after which the difference to a sample says nothing of the present.
	sampleGap  = 15 * time.Second
	maxHistory = 150 // samples
)

// flow is a rate in both directions, in bytes a second.
type flow struct {
	In, Out float64
	Known   bool // false for what was not there at the sample before
}

func (f flow) sum() float64 { return f.In + f.Out }

// sample is a hub at one moment.
type sample struct {
	at      time.Time
	hub     status.Hub
	tokens  []server.TokenStatus
	total   flow
	peers   map[netip.Addr]flow
	history []moment // up to this sample
}

// moment is the total of a sample.
type moment struct {
	at time.Time
	flow
}

// sampler takes samples of a hub while somebody looks.
type sampler struct {
	hub Hub

	mu   sync.Mutex
	last sample // guarded by mu
}

// take returns a sample that is no older than sampleAge.
func (s *sampler) take() sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, before := time.Now(), s.last
	passed := now.Sub(before.at)
	if passed < sampleAge {
		return before
	}
	taken := sample{at: now, hub: s.hub.Status(), peers: map[netip.Addr]flow{}}
	taken.tokens, _ = s.hub.ListTokens() // none for a hub without tokens
	if passed < sampleGap {
		taken.total = between(before.hub.Bytes, taken.hub.Bytes, passed)
		taken.history = before.history
		known := map[netip.Addr]status.Peer{}
		for _, p := range before.hub.Peers {
			known[p.Address] = p
		}
		for _, p := range taken.hub.Peers {
			if b, ok := known[p.Address]; ok && b.Since.Equal(p.Since) {
				taken.peers[p.Address] = between(b.Bytes, p.Bytes, passed)
			}
		}
	}
	if taken.total.Known {
		// A new array: others may be reading that of the sample before.
		from := max(len(taken.history)+1-maxHistory, 0)
		taken.history = append(append([]moment(nil), taken.history[from:]...),
			moment{now, taken.total})
	}
	s.last = taken
	return taken
}

// between returns the rate at which bytes have grown.
func between(before, now status.Bytes, passed time.Duration) flow {
	if now.Received < before.Received || now.Sent < before.Sent {
		return flow{} // another run
	}
	return flow{In: float64(now.Received-before.Received) / passed.Seconds(),
		Out: float64(now.Sent-before.Sent) / passed.Seconds(), Known: true}
}
