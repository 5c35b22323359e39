// Package hook runs a function beside a session.
package hook

import (
	"context"
	"sync"
)

// Hook is a function that runs beside the session. The user's command may use the tunnel, so the
// session does not wait for it.
type Hook struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// Start runs f until ctx ends or Stop is called. None may be running.
func (h *Hook) Start(ctx context.Context, f func(context.Context)) {
	ctx, h.cancel = context.WithCancel(ctx)
	h.group.Go(func() { f(ctx) })
}

// Stop ends the function, if one was started, and waits for it.
func (h *Hook) Stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.group.Wait()
	h.cancel = nil
}
