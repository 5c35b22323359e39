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

	"tunnel/transport/fq"
)

const (
	// surgeInterval is the time between two checks of the queues while they are large.
	surgeInterval = 2 * time.Second
	// shortInterval is the least time between two log lines about packets dropped for lack of memory.
	shortInterval = time.Minute
	// worthFreeing is by how many bytes the queues must have shrunk before memory is returned to the
	// system.
	worthFreeing = 16 << 20
	// fattest is how many tokens a log line names.
	fattest = 3
	// queueShare is the divisor that gives the part of Config.MaxMemory for queues and buffers of
	// connections. The rest is for the connections themselves, and for garbage not collected yet.
	queueShare = 2
)

// newBudget returns the budget of all queues, nil if there is no limit.
func newBudget(maxMemory int64) *fq.Budget {
	if maxMemory == 0 {
		return nil
	}
	return fq.NewBudget(maxMemory / queueShare)
}

// watchMemory logs when memory is short, and returns memory to the system afterwards: the runtime
// collects garbage only when memory is allocated, which may be hours after a surge. It costs
// nothing while the queues are small.
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
						"dropped", now-said, "limit_mib", s.MaxMemory>>20, "most", s.holders())
					said = now
				})
			}
		})
	}
}

// surge calls look repeatedly until the queues are small again.
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
			giveBack()
			peak = held
		}
		over := settled && held < worthFreeing
		last = held
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if over { // sessions that ended with the surge have left the rest by now
			giveBack()
			return
		}
	}
}

// giveBack collects garbage and gives free memory back to the system.
func giveBack() {
	runtime.GC() // a sync.Pool keeps what is in it for one collection
	debug.FreeOSMemory()
}

// holders returns the names of the tokens with the largest queues, for a log line.
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
