package server

import (
	"context"
	"errors"
	"time"

	"tunnel/auth"
	"tunnel/defect"
	"tunnel/policy"
	"tunnel/server/admission"
	"tunnel/server/peers"
	"tunnel/transport"
)

// errDefect is the reason of a close frame after a panic.
const errDefect = "a defect of this program"

// run sends a client its grant, and forwards packets through c until it ends. It returns why it
// ended, nil if no packet could pass. It closes the connection.
func (s *Server) run(c *connection) (ended error) {
	defer func() { // a panic must not end other clients
		if s.defects.Note(ended, c.log) {
			c.conn.Close(transport.CodeInternal, errDefect)
		}
	}()
	defer defect.Catch(&ended)
	life := c.subflow.Context()
	ctx, cancel := context.WithTimeout(life, s.limits.connect)
	defer cancel()
	if err := c.conn.Grant(ctx, c.request, c.answer, s.Device.Offload()); err != nil {
		c.conn.Close(transport.CodeGoingAway, "no answer in time")
		s.refusal(admission.Connect, c.peer.Known, err, c.log).Info("refused", "err", err)
		return nil
	}
	if c.request.Lane == nil {
		c.log.Info("connected", c.conn.Security())
		c.peer.Begin(s.record)
		if s.Admitted != nil && !c.began.IsZero() {
			s.Admitted(time.Since(c.began))
		}
	} else {
		c.log.Info("lane connected", c.conn.Security())
	}
	var tell func(transport.Update) error
	if c.request.TakesUpdates() {
		tell = c.conn.Tell
	}
	queue := c.peer.Start(c.subflow, c.conn.Wire(), tell)
	return c.conn.Run(life, queue, s.Keepalive, s.receiver(c.peer, c.subflow))
}

// disconnect removes c from its session, which ends with its last connection; why is the reason,
// nil if c was never up.
func (s *Server) disconnect(c *connection, why error) {
	if !c.peer.Disconnect(c.subflow) {
		if why != nil {
			c.log.Info("lane lost", "reason", why)
		}
		return
	}
	c.peer.Ended(why, s.record) // before the seat and the address are free for the next
	s.detach(c.peer)            // before the log line, after which the lease must be idle
	if why != nil {
		c.log.Info("disconnected", "reason", why, "queue", c.peer.Queue.Drops())
	}
}

// detach undoes attachPeer. Packets for p are held for its return unless its token was revoked.
func (s *Server) detach(p *peers.Peer) {
	s.drops.Count(policy.Stale, s.peers.Detach(p, !s.revoked(p.Token)))
	if s.revoked(p.Token) { // if it was revoked in detach, RevokeToken may have missed p
		s.drops.Count(policy.Stale, s.peers.DropHeld(p.Token.ID))
		s.Leases.End(func(id string) bool { return id == p.Token.ID })
	}
	s.Leases.Release(p.Lease)
	p.End(nil)
	p.Queue.Close()
	s.peers.Retire(p)
}

// revoked reports whether a token was revoked.
func (s *Server) revoked(t auth.Token) bool {
	return errors.Is(s.Auth.Check(t.ID), auth.ErrRevoked)
}
