package server

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"tunnel/transport"
)

const (
	// surgeInterval is the time between two looks at what the queues hold while that is much.
	surgeInterval = 2 * time.Second
	// shortInterval is the least time between two lines of the log about packets that were dropped
	// for want of memory.
	shortInterval = time.Minute
	// worthFreeing is the bytes of which the queues must have got rid for memory to be given back
	// to the system.
	worthFreeing = 16 << 20
	// fattest is how many tokens such a line names.
	fattest = 3
)

// queueShare is the part of Config.MaxMemory, as a divisor, that queues and buffers of connections
// may hold together. The rest is for the connections themselves, and for what the garbage collector
// has not collected yet.
const queueShare = 2

// newBudget returns what all queues share, nil if there is no limit.
func newBudget(maxMemory int64) *transport.Budget {
	if maxMemory == 0 {
		return nil
	}
	return transport.NewBudget(maxMemory / queueShare)
}

// watchMemory says when memory is short, and gives it back to the system after: the runtime
// collects garbage when new memory is wanted, which after a surge may be in hours. It costs nothing
// while queues hold little.
func (s *Server) watchMemory(ctx context.Context) {
	short := rate.Sometimes{Interval: shortInterval}
	said := uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.budget.Surge():
		}
		s.surge(ctx, func() {
			if now := s.budget.Dropped(); now > said {
				short.Do(func() {
					s.Log.Warn("memory is short: packets of the clients that hold most are dropped",
						"dropped", now-said,
						"limit_mib", s.MaxMemory>>20, "most", s.holders())
					said = now
				})
			}
		})
	}
}

// surge looks on, and calls look, until the queues hold little again.
func (s *Server) surge(ctx context.Context, look func()) {
	timer := time.NewTicker(surgeInterval)
	defer timer.Stop()
	var peak, last int64
	for {
		held := s.budget.Settle()
		look()
		peak = max(peak, held)
		settled := held >= last
		if settled && peak-held >= max(worthFreeing, peak/4) {
			runtime.GC() // a sync.Pool keeps what is in it for one collection
			debug.FreeOSMemory()
			peak = held
		}
		if settled && held < worthFreeing {
			return
		}
		last = held
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
}

// holders names the tokens whose clients' queues hold most, for a line of the log.
func (s *Server) holders() string {
	type holder struct {
		name  string
		peers int
		bytes int64
	}
	byToken := map[string]*holder{}
	for _, p := range s.peers.All() {
		h := byToken[p.Token.ID]
		if h == nil {
			h = &holder{name: p.Token.Name}
			byToken[p.Token.ID] = h
		}
		h.peers++
		h.bytes += p.Queue.Held()
	}
	var all []*holder
	for _, h := range byToken {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *holder) int { return cmp.Compare(b.bytes, a.bytes) })
	var text []string
	for _, h := range all[:min(len(all), fattest)] {
		text = append(text, fmt.Sprintf("%s: %d KiB in %d sessions", h.name, h.bytes>>10, h.peers))
	}
	return strings.Join(text, ", ")
}
