package server

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"tunnel/transport/fq"
)

const (
	// surgeInterval is the time between two checks of the queues while they are large.
	surgeInterval = 2 * time.Second
	// shortInterval is the least time between two log lines about packets dropped for lack of memory.
	shortInterval = time.Minute
	calmLooks     = 5 // looks at small queues after which a surge is over
	// worthFreeing is by how many bytes the queues must have shrunk before memory is returned to the
	// system.
	worthFreeing = 16 << 20
	fattest      = 3 // tokens that a log line names
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
// collects garbage only when memory is allocated, which may be hours after a surge.
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
						"dropped", now-said, "limit_mib", s.MaxMemory>>20, "most", s.peers.Fattest(fattest))
					said = now
				})
			}
		})
	}
}

// surge calls look repeatedly until the queues have been small for calmLooks. It gives memory back
// when the queues have shrunk, and when sessions have ended: some end long after their queues.
func (s *Server) surge(ctx context.Context, look func()) {
	timer := time.NewTicker(surgeInterval)
	defer timer.Stop()
	var peak, last int64
	most, gave := 0, false
	for calm := 0; calm < calmLooks; calm++ {
		held, peers := s.budget.Settle(), len(s.peers.All())
		look()
		peak, most = max(peak, held), max(most, peers)
		settled := held >= last
		if settled && (peak-held >= max(worthFreeing, peak/4) || most-peers >= max(8, most/8)) {
			giveBack()
			peak, most, gave = held, peers, true
		}
		if last = held; held >= worthFreeing {
			calm = -1
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
	}
	if s.budget.Calm(); gave {
		giveBack() // what sessions that ended meanwhile have left
	}
}

// giveBack collects garbage and gives free memory back to the system.
func giveBack() {
	runtime.GC() // a sync.Pool keeps what is in it for one collection
	debug.FreeOSMemory()
}
