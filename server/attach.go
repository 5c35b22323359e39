package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
	"tunnel/policy"
	"tunnel/server/admission"
	"tunnel/server/peers"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// Why a client whose token is right gets no session.
var (
	errLane     = errors.New("the session has no such lane, or no connection any more")
	errSessions = errors.New("the token has as many sessions as it may have")
	errToken    = errors.New("token") // the token requires what this network does not have
)

// maxSession is the longest session that a client may name, in bytes.
const maxSession = 64

// connection is one connection of a client that is attached.
type connection struct {
	peer    *peers.Peer
	subflow *peers.Subflow
	request transport.Connect
	answer  transport.Connected
	conn    *ws.Conn
	log     *slog.Logger
	began   time.Time // when it was accepted; zero if that is not known
}

// attach begins a session with a connection, or adds the connection to the session that its connect
// message names.
func (s *Server) attach(life context.Context, who client,
	request transport.Connect) (*connection, error) {
	if request.Lane != nil {
		return s.attachSubflow(who.grant, request)
	}
	return s.attachPeer(life, who, request)
}

// attachPeer gives a client its pair and makes it a peer. If its holder has a peer
// already, the new peer replaces it, and the old one is told. Connections of one holder are
// attached one after another, so that the last one has the session and its address; other holders
// do not wait for them.
func (s *Server) attachPeer(life context.Context, who client,
	request transport.Connect) (*connection, error) {
	grant, session := who.grant, request.Session
	if session == "" || len(session) > maxSession {
		session = auth.NewSecret()
	}
	if err := s.networks.Fits(grant.Token); err != nil {
		return nil, fmt.Errorf("%w %s: %w", errToken, grant.Name, err)
	}
	holder, quota := peers.HolderOf(grant.Token, session), s.quota(grant.Token)
	defer s.attaching.Lock(holder)()
	if !s.peers.Reserve(holder, quota.Sessions) {
		return nil, fmt.Errorf("%w: %d", errSessions, quota.Sessions)
	}
	attached := false
	defer func() { // also after a panic: otherwise the seat would count for ever
		if !attached {
			s.peers.Unreserve(holder)
		}
	}()
	credential, err := s.Auth.Join(grant, session)
	if err != nil {
		return nil, err
	}
	if credential != "" {
		invited := who.known
		invited.Event = audit.InvitationUsed
		s.record(invited)
	}
	pair, err := s.lease(life, holder, request.Wanted(), quota.Leases())
	if err != nil {
		return nil, err
	}
	p := s.peers.NewPeer(life, who.known, grant.Token, session, pair)
	p.Link = transport.Connected{
		Address:   pair.Local.String(),
		Peer:      pair.Peer.String(),
		Network:   s.Leases.Network().String(),
		MTU:       s.MTU,
		Qlen:      s.Qlen,
		Keepalive: s.Keepalive.Seconds(),
		Session:   session,
		Lanes:     s.lanes(request.Lanes),
	}
	c := &connection{peer: p, subflow: p.Connect(0), request: request, answer: p.Link}
	c.answer.Credential = credential // once
	s.networks.Prepare(p)
	replaced, lost := s.peers.Attach(p)
	if replaced != nil {
		replaced.Ended(peers.ErrReplaced(), s.record)
	}
	attached = true
	s.drops.Count(policy.Stale, lost)
	// It may have been revoked since it was checked; from now on, RevokeToken finds p.
	if err := s.Auth.Check(grant.ID); err != nil {
		s.detach(p)
		return nil, err
	}
	s.networks.Admit(p, request.Advertise)
	return c, nil
}

// attachSubflow adds a connection to the session that its connect message names. The error is
// errLane.
func (s *Server) attachSubflow(grant auth.Grant, request transport.Connect) (*connection, error) {
	p := s.peers.OfHolder(peers.HolderOf(grant.Token, request.Session))
	if p == nil || p.Session != request.Session || p.Token.ID != grant.ID ||
		*request.Lane >= p.Link.Lanes {
		return nil, errLane
	}
	f := p.Connect(*request.Lane)
	if f == nil {
		return nil, errLane
	}
	return &connection{peer: p, subflow: f, request: request, answer: p.Link}, nil
}

// lanes returns how many connections a client gets that asks for this number.
func (s *Server) lanes(asked int) int {
	return max(1, min(asked, s.live.Load().MaxLanes, transport.MaxLanes))
}

// refuse tells a client why attach has failed.
func (s *Server) refuse(ctx context.Context, conn *ws.Conn, err error, who client) {
	why, code, level := admission.Internal, transport.CodeInternal, slog.LevelWarn
	switch {
	case errors.Is(err, errLane):
		why, code, level = admission.Lane, transport.CodeLane, slog.LevelInfo
	case whyOver(err) != "":
		why, code = admission.Token, transport.CodeRevoked
	case errors.Is(err, errSessions):
		why, code = admission.Sessions, transport.CodeSessions
	case errors.Is(err, errToken), errors.Is(err, lease.ErrFull):
		why, code = admission.Address, transport.CodeNoAddress
	default: // this side's fault
		s.refusal(why, who.known, err, who.log).Error("refused", "err", err)
		conn.Close(code, "the server cannot give out addresses")
		return
	}
	s.refusal(why, who.known, err, who.log).Log(ctx, level, "refused", "err", err)
	conn.Close(code, err.Error())
}
