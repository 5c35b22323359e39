package peers

import (
	"context"
	"sync"

	"tunnel/admin/status"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// subflows are the connections of one peer, by their numbers.
type subflows struct {
	mu   sync.Mutex
	open map[int]*Subflow
	over bool // the last one has ended: the peer is closing
	told transport.Update
	past status.Traffic // of connections that are not in open any more, or have no wire
}

// A Subflow is one connection of a peer.
type Subflow struct {
	Number int
	// its part of the peer's queue after Start; guarded by the peer's subflows.mu
	queue *fq.Queue
	wire  status.Wire // nil before Start, and when past has its bytes; guarded like queue
	// sends an update to the client without waiting; nil before Start, and if the client takes none
	tell   func(transport.Update) error
	ctx    context.Context //nolint:containedctx // the connection's life, which its successor's request ends
	cancel context.CancelCauseFunc
}

// Context returns the connection's context. It ends when the connection is to be closed; its cause
// is the close error for the client.
func (f *Subflow) Context() context.Context { return f.ctx }

// Connect adds a connection as subflow i of p, in place of the one that was, which it ends. It
// returns nil if p is closing.
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

// Start returns the queue of f's connection, for packets to the client. wire is what Status
// examines. tell sends the client an update and must not wait; it is nil if the client takes none.
// Start sends the last update.
func (p *Peer) Start(f *Subflow, wire status.Wire, tell func(transport.Update) error) *fq.Queue {
	p.subflows.mu.Lock()
	defer p.subflows.mu.Unlock()
	f.queue, f.wire, f.tell = p.Queue.Join(), wire, tell
	if tell != nil && p.subflows.told.Serial > 0 {
		_ = tell(p.subflows.told) // which can be sent
	}
	return f.queue
}

// Tell sends the client an update that can be encoded, unless the last one had the same lists, and
// sets its serial. It is sent over all connections, since any may break before it has arrived.
func (p *Peer) Tell(u transport.Update) {
	p.subflows.mu.Lock()
	defer p.subflows.mu.Unlock()
	told := &p.subflows.told
	if told.Serial > 0 && told.Equal(u) {
		return
	}
	u.Serial = told.Serial + 1
	*told = u
	for _, f := range p.subflows.open {
		if f.queue != nil && f.tell != nil {
			_ = f.tell(u) // as in Start
		}
	}
}

// stop moves f's packets to the other subflows; the caller holds subflows.mu.
func (p *Peer) stop(f *Subflow) {
	if f.queue != nil {
		p.Queue.Leave(f.queue)
		p.subflows.past.Add(status.TrafficOf(f.wire))
		f.queue, f.wire = nil, nil
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
