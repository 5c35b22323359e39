package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"tunnel/auth"
	"tunnel/defect"
	"tunnel/lease"
	"tunnel/transport"
)

// serve takes a request from HTTP to the connection that it becomes. Strangers are turned away before the upgrade. The
// connection outlives the request, whose buffers and large stack an idle client would keep, and the session perhaps the
// connection that began it: it may live as long as life does.
func (s *Server) serve(life context.Context, w http.ResponseWriter, r *http.Request) {
	from, ok := s.precheck(w, r)
	if !ok {
		return
	}
	leave := func() { s.limiter.Leave(from.tracked) }
	defer func() { leave() }()
	r.TLS = transport.RequestTLS(r.Context()) //nolint:contextcheck // it is the request's; as net/http does where it does TLS itself
	grant, err := s.Auth.Admit(r)
	if err != nil {
		s.refuseLogin(w, r, from, err)
		return
	}
	if wait := s.wait(grant.Token, time.Now()); wait > 0 {
		s.refused.count(refuseLogins, s.Log).Warn("refused: too many logins with one token", "remote", from.remote, "token", grant.Name)
		tooMany(w, wait)
		return
	}
	s.bans.Succeed(from.source) // after the limit: one token makes no more sources known than it has logins
	s.limiter.Authenticated(from.tracked)
	leave = func() {
		s.bans.Succeed(from.source) // who has been here for hours comes from a known address, too
		s.limiter.Leave(from.tracked)
	}
	log := s.Log.With("remote", from.remote)
	if !grant.Anonymous() {
		log = log.With("token", grant.Name)
	}
	if subject := auth.Subject(r.TLS); subject != "" {
		log = log.With("cert", subject)
	}
	conn, request, ok := s.upgrade(w, r, log)
	if !ok {
		return
	}
	p, l, link, err := s.enter(life, from.remote, grant, request)
	if err != nil {
		s.refuse(conn, err, log)
		return
	}
	log = log.With("address", p.address)
	if request.Lane != nil {
		log = log.With("lane", l.number)
	}
	last := leave
	//nolint:contextcheck // the session's life is the server's
	started := s.sessions.start(func() {
		defer last()
		ended := s.run(p, l, conn, request, link, log)
		s.defects.Note(defect.Do(func() { s.leave(p, l, ended, log) }), log)
	})
	if !started {
		s.leave(p, l, nil, log)
		conn.Close(transport.CodeGoingAway, "the server stops")
		return
	}
	leave = func() {} // the connection does
}

// leave takes lane l from its session, which ends with the last one; reason is why its connection has ended, nil when it
// was not up.
func (s *Server) leave(p *peer, l *lane, reason error, log *slog.Logger) {
	if !p.leave(l) {
		if reason != nil {
			log.Info("lane lost", "reason", reason)
		}
		return
	}
	s.dismiss(p) // first: whoever reads the line may count on the lease being at rest
	if reason != nil {
		log.Info("disconnected", "reason", reason, "queue", p.queue.Drops())
	}
}

// enter makes a connection one more of its session, or the first of one.
func (s *Server) enter(life context.Context, remote string, grant auth.Grant, request transport.Connect) (*peer, *lane, transport.Connected, error) {
	if request.Lane == nil {
		return s.admit(life, remote, grant, request)
	}
	p, l, err := s.attach(grant, request)
	if err != nil {
		return nil, nil, transport.Connected{}, err
	}
	return p, l, p.link, nil
}

// upgrade makes a request whose login is done a WebSocket, and reads its connect. When it returns false the connection is
// closed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, log *slog.Logger) (*transport.Conn, transport.Connect, bool) {
	conn, err := transport.Accept(w, r, s.Congestion)
	if err != nil {
		s.refused.count(refuseUpgrade, log).Info("refused", "err", err)
		return nil, transport.Connect{}, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.connect)
	defer cancel()
	request, err := conn.Requested(ctx, s.Device.Offload())
	if err != nil {
		conn.Close(transport.CodeGoingAway, "no connect in time")
		s.refused.count(refuseConnect, log).Info("refused", "err", err)
		return nil, transport.Connect{}, false
	}
	return conn, request, true
}

// admit gives the client that comes from remote its pair and makes it a peer. Whoever comes as a client that is connected
// takes the place of that connection: it is dead, or will be told. Admissions of one holder come one after the other, so
// that the last of them has the session and its address; nobody else waits for them.
func (s *Server) admit(life context.Context, remote string, grant auth.Grant, request transport.Connect) (*peer, *lane, transport.Connected, error) {
	session := request.Session
	if session == "" || len(session) > maxSession {
		session = auth.NewSecret()
	}
	if err := s.fits(grant.Token); err != nil {
		return nil, nil, transport.Connected{}, fmt.Errorf("%w %s: %w", errToken, grant.Name, err)
	}
	holder := holderOf(grant.Token, session)
	defer s.entering.Lock(holder)()
	if most := s.maxSessions(grant.Token); !s.peers.reserve(holder, most) {
		return nil, nil, transport.Connected{}, fmt.Errorf("%w: %d", errSessions, most)
	}
	entered := false
	defer func() { // in a panic as well: a seat that nobody has would count for ever
		if !entered {
			s.peers.abandon(holder)
		}
	}()
	credential, err := s.Auth.Join(grant, session)
	if err != nil {
		return nil, nil, transport.Connected{}, err
	}
	pair, err := s.lease(life, holder, request.Wanted(), s.maxLeases(grant.Token))
	if err != nil {
		return nil, nil, transport.Connected{}, err
	}
	p := newPeer(life, remote, grant.Token, session, pair, s.budget)
	p.link = transport.Connected{
		Address:   pair.Local.String(),
		Peer:      pair.Peer.String(),
		Network:   s.Leases.Network().String(),
		MTU:       s.MTU,
		Qlen:      s.Qlen,
		Keepalive: s.Keepalive.Seconds(),
		Session:   session,
		Lanes:     s.most(request.Lanes),
	}
	l := p.enter(0)
	lost := s.peers.enter(p)
	entered = true
	s.drops.count(dropStale, lost)
	// It may have been revoked since it was looked at; from now on, whoever revokes it finds p.
	if err := s.Auth.Check(grant.ID); err != nil {
		s.dismiss(p)
		return nil, nil, transport.Connected{}, err
	}
	answer := p.link
	answer.Credential = credential // once
	return p, l, answer, nil
}

// refuse tells a client why admit has failed.
func (s *Server) refuse(conn *transport.Conn, err error, log *slog.Logger) {
	switch {
	case errors.Is(err, errLane):
		s.refused.count(refuseLane, log).Info("refused", "err", err)
		conn.Close(transport.CodeLane, err.Error())
	case isOver(err):
		s.refused.count(refuseToken, log).Warn("refused", "err", err)
		conn.Close(transport.CodeRevoked, err.Error())
	case errors.Is(err, errToken):
		s.refused.count(refuseAddress, log).Warn("refused", "err", err)
		conn.Close(transport.CodeNoAddress, err.Error())
	case errors.Is(err, errSessions):
		s.refused.count(refuseSessions, log).Warn("refused", "err", err)
		conn.Close(transport.CodeSessions, err.Error())
	case errors.Is(err, lease.ErrFull):
		s.refused.count(refuseAddress, log).Warn("refused", "err", err)
		conn.Close(transport.CodeNoAddress, err.Error())
	default:
		s.refused.note(refuseInternal) // each is this side's fault, and is logged
		log.Error("refused", "err", err)
		conn.Close(transport.CodeInternal, "the server cannot give out addresses")
	}
}

// run tells p what it was given, and forwards packets by lane l until that ends, and why; nil is that none could pass. The
// connection is closed then.
func (s *Server) run(p *peer, l *lane, conn *transport.Conn, request transport.Connect, link transport.Connected, log *slog.Logger) (ended error) {
	defer func() { // what one client runs into shall not end the others
		if s.defects.Note(ended, log) {
			conn.Close(transport.CodeInternal, errDefect)
		}
	}()
	defer defect.Catch(&ended)
	ctx, cancel := context.WithTimeout(l.ctx, s.limits.connect) // l.ctx: the end of l says more than the end of all
	defer cancel()
	if err := conn.Grant(ctx, request, link, s.Device.Offload()); err != nil {
		conn.Close(transport.CodeGoingAway, "no answer in time")
		s.refused.count(refuseConnect, log).Info("refused", "err", err)
		return nil
	}
	if request.Lane == nil {
		log.Info("connected", conn.Security())
	} else {
		log.Info("lane connected", conn.Security())
	}
	return conn.Run(l.ctx, p.start(l), s.Keepalive, p.receive(s, l))
}

// errDefect is the reason of a close frame after a panic.
const errDefect = "a defect of this program"

// dismiss ends what admit began. What waits for p is kept for its return, unless its token was revoked.
func (s *Server) dismiss(p *peer) {
	s.drops.count(dropStale, s.peers.remove(p, !s.revoked(p.token)))
	if s.revoked(p.token) { // perhaps meanwhile: whoever revoked it has not found all of p
		s.drops.count(dropStale, s.peers.end(p.token.ID))
		s.Leases.End(func(id string) bool { return id == p.token.ID })
	}
	s.Leases.Release(p.lease)
	p.cancel(nil)
	p.queue.Close()
	lost := p.queue.Drops()
	s.drops.count(dropQueue, lost.Full)
	s.drops.count(dropCoDel, lost.CoDel)
	s.drops.count(dropStale, lost.Stale)
	s.drops.count(dropCut, lost.Cut)
}

// revoked reports whether a token was revoked.
func (s *Server) revoked(t auth.Token) bool { return errors.Is(s.Auth.Check(t.ID), auth.ErrRevoked) }

// maxSession is the longest session that a client may name, in bytes.
const maxSession = 64
