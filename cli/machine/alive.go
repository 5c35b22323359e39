package machine

import (
	"context"
	"time"

	"tunnel/supervisor"
)

// Tell implements Machine, and privsep.Machine.
func (d *direct) Tell(s supervisor.State) {
	switch s {
	case supervisor.Listening, supervisor.Connected:
		d.started.Store(true)
	case supervisor.Reloading, supervisor.Reloaded:
		if !d.started.Load() { // the end of a reload would say that the start is complete
			return
		}
	}
	if err := supervisor.Tell(s); err != nil {
		d.log.Warn("the service manager cannot be told how this run is", "state", s, "err", err)
	}
}

// Watch implements Machine.
func (d *direct) Watch(ctx context.Context, check func()) {
	every := supervisor.Interval()
	if every == 0 {
		return
	}
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				check()
				d.Tell(supervisor.Alive)
			}
		}
	}()
}

// Watch implements Machine: the parent asks.
func (h *confined) Watch(_ context.Context, check func()) { h.OnAsk(check) }
