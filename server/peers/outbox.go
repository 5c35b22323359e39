package peers

import (
	"slices"

	"tunnel/transport"
	"tunnel/transport/fq"
)

// Outbox collects the queues that a batch went to, so that each is flushed once per batch.
type Outbox struct {
	queues []*fq.Subflows
	To     *Peer // to whom the record goes that is being sent
}

// Add notes that something was queued.
func (o *Outbox) Add(q *fq.Subflows) {
	if !slices.Contains(o.queues, q) { // mostly one or two
		o.queues = append(o.queues, q)
	}
}

// Flush flushes the queues.
func (o *Outbox) Flush() {
	for i, q := range o.queues {
		q.Flush()
		o.queues[i] = nil
	}
	o.queues = o.queues[:0]
}

// Fail ends the peer whose queue may be inconsistent after a panic, for the reason.
func (o *Outbox) Fail(reason string) {
	if o.To != nil {
		o.To.End(&transport.CloseError{Code: transport.CodeInternal, Reason: reason})
		o.To = nil
	}
}
