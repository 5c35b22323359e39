package client

import (
	"context"
	"sync"
)

// hook is one function that runs beside the session: a person's command may use the tunnel, so that
// the session cannot wait for it.
type hook struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
}

func (h *hook) start(ctx context.Context, f func(context.Context)) {
	ctx, h.cancel = context.WithCancel(ctx)
	h.group.Go(func() { f(ctx) })
}

// stop ends the function and waits for it; nothing when none was started.
func (h *hook) stop() {
	if h.cancel == nil {
		return
	}
	h.cancel()
	h.group.Wait()
	h.cancel = nil
}
