package peers

import (
	"slices"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// Outbox collects the queues that a batch goes to, so that each is flushed once per batch. One
// goroutine uses it.
type Outbox struct {
	queues  []*fq.Subflows
	current *Peer // whose queue a packet goes to at this moment, or went to last
}

// Next says that what follows is about another packet.
func (o *Outbox) Next() { o.current = nil }

// Push queues packet i of b for p.
func (o *Outbox) Push(p *Peer, b *packet.Batch, i int) {
	o.current = p
	o.Answer(p, b.Take(i))
}

// Answer queues a packet of the hub's own for p.
func (o *Outbox) Answer(p *Peer, answer *packet.Packet) {
	p.Queue.Push(answer)
	if !slices.Contains(o.queues, p.Queue) { // mostly one or two
		o.queues = append(o.queues, p.Queue)
	}
}

// Flush sends what was queued.
func (o *Outbox) Flush() {
	for i, q := range o.queues {
		q.Flush()
		o.queues[i] = nil
	}
	o.queues = o.queues[:0]
}

// Fail ends the peer whose queue may be inconsistent after a panic.
func (o *Outbox) Fail(reason string) {
	if o.current != nil {
		o.current.End(&transport.CloseError{Code: transport.CodeInternal, Reason: reason})
		o.current = nil
	}
}
