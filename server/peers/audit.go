package peers

import "tunnel/admin/audit"

// Begin returns what the audit log says of the session's begin.
func (p *Peer) Begin() audit.Entry {
	p.announced.Store(true)
	e := p.Known
	e.Event = audit.SessionStarted
	return e
}

// Ended returns what the audit log says of the session's end, of which why is the reason, and
// whether Begin was called. It is for a peer without connections whose queue is closed.
func (p *Peer) Ended(why error) (e audit.Entry, begun bool) {
	p.subflows.mu.Lock()
	crossed := p.subflows.past
	p.subflows.mu.Unlock()
	drops := p.Queue.Drops()
	e = p.Known
	e.Event, e.Reason = audit.SessionEnded, "its last connection was lost"
	if why != nil {
		e.Reason = why.Error()
	}
	e.End = audit.EndOf(p.Since, crossed.Sent, crossed.Received,
		drops.Full+drops.Memory+drops.CoDel+drops.Stale+drops.Cut)
	return e, p.announced.Load()
}
