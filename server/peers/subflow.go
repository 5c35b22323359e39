package server

import (
	"context"
	"errors"
	"sync"

	"tunnel/auth"
	"tunnel/transport"
)

// errLane says that a connection cannot be one more of a session; the session goes on.
var errLane = errors.New("the session has no such lane, or no connection any more")

// lanes are the connections of one peer, by their numbers.
type lanes struct {
	mu   sync.Mutex
	open map[int]*lane
	over bool // the last has ended: the peer goes
}

// A lane is one connection of a peer.
type lane struct {
	number int
	queue  *transport.Queue // of the peer's, while packets flow
	ctx    context.Context  //nolint:containedctx // the lane's life: whoever replaces it ends it, from another request
	cancel context.CancelCauseFunc
}

// most returns how many connections a client may have that asks for so many.
func (s *Server) most(asked int) int { return max(1, min(asked, s.MaxLanes, transport.MaxLanes)) }

// attach makes a connection one more of the session that its connect names. The error is errLane.
func (s *Server) attach(grant auth.Grant, request transport.Connect) (*peer, *lane, error) {
	p := s.peers.with(holderOf(grant.Token, request.Session))
	if p == nil || p.session != request.Session || p.token.ID != grant.ID || *request.Lane >= p.link.Lanes {
		return nil, nil, errLane
	}
	l := p.enter(*request.Lane)
	if l == nil {
		return nil, nil, errLane
	}
	return p, l, nil
}

// enter makes a connection lane i of p, instead of one that has the place; nil is that p has none any more.
func (p *peer) enter(i int) *lane {
	p.lanes.mu.Lock()
	defer p.lanes.mu.Unlock()
	if p.lanes.over {
		return nil
	}
	if old := p.lanes.open[i]; old != nil {
		old.cancel(&transport.CloseError{Code: transport.CodeLane, Reason: "a newer connection has this lane"})
		p.release(old)
	}
	l := &lane{number: i}
	l.ctx, l.cancel = context.WithCancelCause(p.ctx)
	if p.lanes.open == nil {
		p.lanes.open = map[int]*lane{}
	}
	p.lanes.open[i] = l
	return l
}

// start returns the queue of l, from which its connection is to send.
func (p *peer) start(l *lane) *transport.Queue {
	p.lanes.mu.Lock()
	defer p.lanes.mu.Unlock()
	l.queue = p.queue.Join()
	return l.queue
}

// release gives l's part of the packets to the others; the caller holds mu.
func (p *peer) release(l *lane) {
	if l.queue != nil {
		p.queue.Leave(l.queue)
		l.queue = nil
	}
}

// leave ends l, and tells whether it was p's last: then p is over.
func (p *peer) leave(l *lane) bool {
	p.lanes.mu.Lock()
	defer p.lanes.mu.Unlock()
	l.cancel(nil)
	p.release(l)
	if p.lanes.open[l.number] == l {
		delete(p.lanes.open, l.number)
	}
	p.lanes.over = len(p.lanes.open) == 0
	return p.lanes.over
}
