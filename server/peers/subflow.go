package peers

import (
	"context"
	"sync"

	"tunnel/transport"
)

// subflows are the connections of one peer, by their numbers.
type subflows struct {
	mu   sync.Mutex
	open map[int]*Subflow
	over bool // the last has ended: the peer is closing
}

// A Subflow is one connection of a peer.
type Subflow struct {
	Number int
	// its part of the peer's, while packets flow; guarded by the peer's subflows.mu
	queue  *transport.Queue
	ctx    context.Context //nolint:containedctx // the connection's life: its successor ends it, from another request
	cancel context.CancelCauseFunc
}

// Context ends when the connection is to be closed, with the cause that the client is told.
func (f *Subflow) Context() context.Context { return f.ctx }

// Connect makes a connection subflow i of p, and ends the one that was it. It returns nil if p is
// closing.
func (p *Peer) Connect(i int) *Subflow {
	p.subflows.mu.Lock()
	defer p.subflows.mu.Unlock()
	if p.subflows.over {
		return nil
	}
	if old := p.subflows.open[i]; old != nil {
		old.cancel(&transport.CloseError{Code: transport.CodeLane,
			Reason: "a newer connection has this lane"})
		p.stop(old)
	}
	f := &Subflow{Number: i}
	f.ctx, f.cancel = context.WithCancelCause(p.ctx)
	if p.subflows.open == nil {
		p.subflows.open = map[int]*Subflow{}
	}
	p.subflows.open[i] = f
	return f
}

// Start returns the queue from which f's connection is to send.
func (p *Peer) Start(f *Subflow) *transport.Queue {
	p.subflows.mu.Lock()
	defer p.subflows.mu.Unlock()
	f.queue = p.Queue.Join()
	return f.queue
}

// stop gives f's part of the packets to the others; the caller holds subflows.mu.
func (p *Peer) stop(f *Subflow) {
	if f.queue != nil {
		p.Queue.Leave(f.queue)
		f.queue = nil
	}
}

// Disconnect ends f, and reports whether it was p's last connection: then p is closing, and the
// caller detaches it.
func (p *Peer) Disconnect(f *Subflow) (last bool) {
	p.subflows.mu.Lock()
	defer p.subflows.mu.Unlock()
	f.cancel(nil)
	p.stop(f)
	if p.subflows.open[f.Number] == f {
		delete(p.subflows.open, f.Number)
	}
	p.subflows.over = len(p.subflows.open) == 0
	return p.subflows.over
}
