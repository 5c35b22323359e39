package peers

import (
	"sync"

	"tunnel/admin/audit"
)

// A Recorder takes an entry of the audit log without waiting.
type Recorder func(audit.Entry)

// chronicle is what was recorded of a session. Entries are recorded while mu is held, so that no
// end comes before its begin, nor a begin after its end.
type chronicle struct {
	mu           sync.Mutex
	begun, ended bool
}

// Begin records the session's begin, unless it has ended already.
func (p *Peer) Begin(record Recorder) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	if p.told.ended {
		return
	}
	p.told.begun = true
	e := p.Known
	e.Event = audit.SessionStarted
	record(e)
}

// Ended records the session's end, once, if its begin was; why is the reason. It is called before
// the client can have its next session, so that this one's end comes before that one's begin.
func (p *Peer) Ended(why error, record Recorder) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	first := p.told.begun && !p.told.ended
	p.told.ended = true
	if !first {
		return
	}
	_, last := p.status()
	drops := last.drops
	e := p.Known
	e.Event, e.Reason = audit.SessionEnded, "its last connection was lost"
	if why != nil {
		e.Reason = why.Error()
	}
	e.End = audit.EndOf(p.Since, last.traffic.Sent, last.traffic.Received,
		drops.Full+drops.Memory+drops.CoDel+drops.Stale+drops.Cut)
	record(e)
}
