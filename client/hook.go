package client

import (
	"context"
	"sync"
)

// hook is a function that runs beside the session. The user's command may use the tunnel, so the
// session does not wait for it.
type hook struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func (h *hook) start(ctx context.Context, f func(context.Context)) {
	ctx, h.cancel = context.WithCancel(ctx)
	h.group.Go(func() { f(ctx) })
}

// stop ends the function, if one was started, and waits for it.
func (h *hook) stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.group.Wait()
	h.cancel = nil
}
