package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/transport"
)

// serve takes a request from HTTP to the end of the session that it becomes. Strangers are turned away before the
// upgrade.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	from, ok := s.greet(w, r)
	if !ok {
		return
	}
	defer s.door.leave(from.guest)
	log := s.Log.With("remote", from.remote)
	if !s.Gate.Admit(r) {
		s.refuseLogin(w, from)
		return
	}
	s.bans.succeed(from.source)
	defer s.bans.succeed(from.source) // for a client whose connection drops after many hours comes from a known address too
	conn, err := transport.Accept(w, r, s.Congestion)
	if err != nil {
		if log := s.refused.count(refuseUpgrade, log); log != nil {
			log.Info("refused", "err", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.connect)
	defer cancel()
	request, err := conn.Requested(ctx, s.Device.Offload())
	if err != nil {
		conn.Close(transport.CodeGoingAway, "no connect in time")
		if log := s.refused.count(refuseConnect, log); log != nil {
			log.Info("refused", "err", err)
		}
		return
	}
	s.door.loggedIn(from.guest)
	p, link, err := s.admit(r.Context(), request)
	switch {
	case errors.Is(err, lease.ErrFull):
		if log := s.refused.count(refuseAddress, log); log != nil {
			log.Warn("refused: no free address pair", "network", s.Leases.Network())
		}
		conn.Close(transport.CodeNoAddress, "no free address pair in "+s.Leases.Network().String())
		return
	case err != nil:
		s.refused.note(refuseInternal) // each is this side's fault, and is logged
		log.Error("refused", "err", err)
		conn.Close(transport.CodeInternal, "the server cannot give out addresses")
		return
	}
	defer s.dismiss(p)
	granting, cancel := context.WithTimeout(p.ctx, s.limits.connect) // p.ctx: the end of p says more than the end of all
	defer cancel()
	//nolint:contextcheck // as below
	if err := conn.Grant(granting, request, link, s.Device.Offload()); err != nil {
		conn.Close(transport.CodeGoingAway, "no answer in time")
		if log := s.refused.count(refuseConnect, log); log != nil {
			log.Info("refused", "err", err)
		}
		return
	}
	log = log.With("address", p.address)
	log.Info("connected")
	//nolint:contextcheck // p.ctx is r.Context(), and ends when the session is replaced
	err = conn.Run(p.ctx, p.queue, s.Keepalive, p.receive(s))
	log.Info("disconnected", "reason", err, "queue", p.queue.Drops())
}

// admit gives the client its pair and makes it a peer. Whoever resumes a session takes the place of the connection
// that has it: that one is dead, or will be told.
func (s *Server) admit(ctx context.Context, request transport.Connect) (*peer, transport.Connected, error) {
	session := request.Session
	if session == "" || len(session) > maxSession {
		session = auth.NewSecret()
	}
	p := newPeer(ctx, holderOf(session))
	s.admission.Lock()
	defer s.admission.Unlock()
	s.peers.claim(p)
	pair, err := s.Leases.Acquire(p.holder, request.Wanted())
	if err != nil {
		s.dismiss(p)
		return nil, transport.Connected{}, err
	}
	s.peers.address(p, pair.Local)
	s.drops.count(dropStale, s.away.move(p))
	return p, transport.Connected{
		Address:   pair.Local.String(),
		Peer:      pair.Peer.String(),
		Network:   s.Leases.Network().String(),
		MTU:       s.MTU,
		Qlen:      s.Qlen,
		Keepalive: s.Keepalive.Seconds(),
		Session:   session,
	}, nil
}

// dismiss ends what admit began.
func (s *Server) dismiss(p *peer) {
	s.peers.remove(p, func() {
		s.Leases.Release(p.holder)
		if p.address.IsValid() {
			s.drops.count(dropStale, s.away.open(p))
		}
	})
	p.cancel(nil)
	p.queue.Close()
	lost := p.queue.Drops()
	s.drops.count(dropQueue, lost.Full)
	s.drops.count(dropCoDel, lost.CoDel)
	s.drops.count(dropStale, lost.Stale)
}

// maxSession is the longest session that a client may name, in bytes.
const maxSession = 64

// holderOf returns the name under which a session holds its lease. The file must not hold what opens a session.
func holderOf(session string) string {
	sum := sha256.Sum256([]byte(session))
	return hex.EncodeToString(sum[:])
}

// A peer is one client that is connected.
type peer struct {
	holder  string
	address netip.Addr // set once, before the peer is found by it
	queue   *transport.Queue
	ctx     context.Context //nolint:containedctx // the peer's life: whoever replaces it ends it, from another request
	cancel  context.CancelCauseFunc
}

func newPeer(ctx context.Context, holder string) *peer {
	p := &peer{holder: holder, queue: transport.NewQueue(queueLimit)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	return p
}
