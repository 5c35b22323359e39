package ws

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws/frame"
)

// alive is how many keepalive intervals a peer may be silent: a little less than two, because its
// loss must be noticed within two.
const alive = 1.9

// Run moves batches until the connection or ctx ends: from q to the peer, and from the peer to
// deliver, which is called on this goroutine and must not use the batch after it returns. When
// nothing goes out for a keepalive interval, Run sends an empty batch; when nothing comes in for
// nearly two, the error is transport.ErrSilent. When ctx ends, its cause goes to the peer if it is
// a *transport.CloseError. The connection is closed, and every goroutine is over, when Run returns;
// the error is never nil. A panic in sending, reading or deliver ends this connection with
// transport.CodeInternal; the error is then a *defect.Error.
func (c *Conn) Run(ctx context.Context, q *fq.Queue, keepalive time.Duration,
	deliver func(*packet.Batch) error) error {
	var end ending
	cut := func(err error) {
		end.because(err)
		_ = c.wire.Close()
	}
	c.out.start(q, keepalive, func(err error) {
		switch {
		// read waits for the answer to the close frame, at most until the timer of bye
		case defect.Is(err):
			end.because(err)
			c.bye(transport.CodeInternal, internal)
		// The caller may be a callback of a reader, or hold the budget's lock: do not block.
		case errors.Is(err, fq.ErrMemory):
			end.because(err)
			c.wire.Interrupt()
		case !errors.Is(err, net.ErrClosed): // else the closing goroutine has set the cause
			cut(plainEnd(err))
		}
	})
	c.in.queue = q
	q.Bind(&c.in.turn)
	c.wire.TakeTurns(&c.in.turn, c.in.charge)
	detach := q.Attach(&c.out)
	c.out.Flush()
	pulse := c.beat(keepalive, cut)
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(told)
		end.because(context.Cause(ctx)) // before the peer's answer can be the cause
		bye := &transport.CloseError{Code: transport.CodeGoingAway, Reason: "stopping"}
		_ = errors.As(context.Cause(ctx), &bye)
		c.bye(bye.Code, bye.Reason)
	})
	err := c.read(deliver)
	if defect.Is(err) {
		end.because(err)
		_ = c.fail()
	}
	cut(err)
	if !stop() {
		<-told
	}
	pulse.stop()
	detach()
	c.out.finish()
	return end.err
}

// internal is the reason in a close frame for a defect of this program.
const internal = "a defect of this program"

// fail closes the connection because of a defect. Closing may meet the defect again.
func (c *Conn) fail() (err error) {
	defer defect.Catch(&err)
	c.Close(transport.CodeInternal, internal)
	return nil
}

// read passes the batches of the peer to deliver. A panic in either is returned as an error.
func (c *Conn) read(deliver func(*packet.Batch) error) (err error) {
	defer c.in.close()
	defer defect.Catch(&err)
	var b packet.Batch
	for {
		if err := c.ReadBatch(&b); err != nil {
			return err
		}
		if c.wire.Coalesces() { // on a short path packets of one flow need not be merged
			b.Merge()
		}
		if err := deliver(&b); err != nil {
			return err
		}
	}
}

// ending is the cause of the end of Run: the first that was given.
type ending struct {
	once sync.Once
	err  error
}

func (e *ending) because(err error) { e.once.Do(func() { e.err = err }) }

// pulse is the keepalive timer of a connection. It needs no goroutine.
type pulse struct {
	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
}

// beat starts the keepalive timer. It sends an empty batch when nothing else was sent for a
// keepalive interval, and calls silent when the peer has sent nothing for nearly two.
func (c *Conn) beat(keepalive time.Duration, silent func(error)) *pulse {
	limit := time.Duration(alive * float64(keepalive))
	p := &pulse{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(keepalive, func() {
		patience := limit - c.wire.Silence()
		if patience <= 0 {
			silent(transport.ErrSilent)
			return
		}
		idle := c.out.idle()
		if idle >= keepalive {
			c.out.control(frame.OpBinary, nil) // an empty batch
			idle = 0
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.stopped {
			p.timer.Reset(min(patience, keepalive-idle))
		}
	})
	return p
}

func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.timer.Stop()
}
