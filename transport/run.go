package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"tunnel/packet"
)

// alive is the part of two keepalive intervals after which a silent peer is given up: a little less than all, because
// the promise is to notice *within* two.
const alive = 1.9

// Run moves batches until the connection or ctx ends: out of q to the peer, and from the peer to deliver, which is
// called on one goroutine and must be done with the batch when it returns. When q is empty for a keepalive interval
// an empty batch goes out; when nothing comes in for nearly two the error is ErrSilent. When ctx ends, its cause goes to
// the peer if it is a *CloseError. The connection is closed, and every goroutine is over, when Run returns; the error
// is never nil.
func (c *Conn) Run(ctx context.Context, q *Queue, keepalive time.Duration, deliver func(*packet.Batch) error) error {
	// Not ctx's child: its end would cut the connection before the peer is told.
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)

	var group sync.WaitGroup
	group.Go(func() {
		cancel(c.write(inner, q, keepalive))
	})
	group.Go(func() {
		cancel(c.read(inner, deliver))
	})
	watch := c.watch(keepalive, cancel)
	defer watch.Stop()

	var ended error
	select {
	case <-inner.Done():
		ended = context.Cause(inner)
	case <-ctx.Done():
		ended = context.Cause(ctx) // not the peer's answer to our close frame, which ends inner
		var bye *CloseError
		if !errors.As(ended, &bye) {
			bye = &CloseError{Code: CodeGoingAway, Reason: "stopping"}
		}
		c.Close(bye.Code, bye.Reason)
		cancel(ended)
	}
	_ = c.ws.CloseNow()
	group.Wait()
	return ended
}

// write is the way out: what the queue holds goes to the peer.
func (c *Conn) write(ctx context.Context, q *Queue, keepalive time.Duration) error {
	var b packet.Batch
	defer b.Reset()
	c.sock.prepare(keepalive)
	for {
		some, err := q.Wait(ctx, keepalive)
		if err != nil {
			return err
		}
		if some {
			if err := c.wire.waitWritable(); err != nil {
				return c.ended(err)
			}
			c.sock.adapt()
			q.Pop(&b, c.sock.budget)
		}
		if err := c.WriteBatch(&b); err != nil {
			return err
		}
		b.Reset()
	}
}

// read is the way in: what the peer sends goes to deliver.
func (c *Conn) read(ctx context.Context, deliver func(*packet.Batch) error) error {
	var b packet.Batch
	defer b.Reset()
	for {
		if err := c.ReadBatch(ctx, &b); err != nil {
			return err
		}
		if err := deliver(&b); err != nil {
			return err
		}
		b.Reset() // an idle connection holds no buffer
	}
}

// watch ends the connection when the peer has been silent for too long. It costs a timer, no goroutine.
func (c *Conn) watch(keepalive time.Duration, end context.CancelCauseFunc) *watchdog {
	limit := time.Duration(alive * float64(keepalive))
	w := &watchdog{}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(limit, func() {
		left := limit - c.wire.silence()
		if left <= 0 {
			end(ErrSilent)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.stopped {
			w.timer.Reset(left)
		}
	})
	return w
}

// watchdog is a timer that sets itself again until it is stopped.
type watchdog struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

func (w *watchdog) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.timer.Stop()
}
