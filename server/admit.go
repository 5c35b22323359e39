package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/gaissmai/bart"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/transport"
)

// serve takes a request from HTTP to the end of the session that it becomes. Strangers are turned away before the
// upgrade.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != s.Path {
		http.NotFound(w, r)
		return
	}
	log := s.Log.With("remote", r.RemoteAddr)
	grant, err := s.Tokens.Admit(r)
	if err != nil {
		log.Warn("refused", "err", err)
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
		return
	}
	log = log.With("token", grant.Name)
	conn, err := transport.Accept(w, r, s.Congestion)
	if err != nil {
		log.Info("refused", "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), connectTimeout)
	defer cancel()
	request, err := conn.Requested(ctx, s.Device.Offload())
	if err != nil {
		conn.Close(transport.CodeGoingAway, "no connect in time")
		log.Info("refused", "err", err)
		return
	}
	p, link, err := s.admit(r, grant, request)
	switch {
	case isOver(err):
		log.Warn("refused", "err", err)
		conn.Close(transport.CodeRevoked, err.Error())
		return
	case errors.Is(err, errToken):
		log.Warn("refused", "err", err)
		conn.Close(transport.CodeNoAddress, err.Error())
		return
	case errors.Is(err, lease.ErrFull):
		log.Warn("refused: no free address pair", "network", s.Leases.Network())
		conn.Close(transport.CodeNoAddress, "no free address pair in "+s.Leases.Network().String())
		return
	case err != nil:
		log.Error("refused", "err", err)
		conn.Close(transport.CodeInternal, "the server cannot give out addresses")
		return
	}
	defer s.dismiss(p)
	if err := conn.Grant(ctx, request, link, s.Device.Offload()); err != nil {
		conn.Close(transport.CodeGoingAway, "no answer in time")
		log.Info("refused", "err", err)
		return
	}
	log = log.With("address", p.address)
	log.Info("connected")
	//nolint:contextcheck // p.ctx is r.Context(), and ends when the session is replaced
	err = conn.Run(p.ctx, p.queue, s.Keepalive, p.receive(s))
	log.Info("disconnected", "reason", err, "queue", p.queue.Drops())
}

// admit gives the client its pair and makes it a peer. Whoever comes as a client that is connected takes the place of that
// connection: it is dead, or will be told.
func (s *Server) admit(r *http.Request, grant auth.Grant, request transport.Connect) (*peer, transport.Connected, error) {
	session := request.Session
	if session == "" || len(session) > maxSession {
		session = auth.NewSecret()
	}
	if err := s.fits(grant.Token); err != nil {
		return nil, transport.Connected{}, fmt.Errorf("%w %s: %w", errToken, grant.Name, err)
	}
	credential, err := s.Tokens.Join(grant, session)
	if err != nil {
		return nil, transport.Connected{}, err
	}
	p := newPeer(r, grant.Token, session)
	s.peers.claim(p)
	// It may have been revoked since it was looked at; from the claim on, whoever revokes it finds p.
	if err := s.Tokens.Check(grant.ID); err != nil {
		s.dismiss(p)
		return nil, transport.Connected{}, err
	}
	pair, err := s.Leases.Acquire(p.holder, request.Wanted())
	if err != nil {
		s.dismiss(p)
		return nil, transport.Connected{}, err
	}
	s.peers.address(p, pair.Local)
	return p, transport.Connected{
		Address:    pair.Local.String(),
		Peer:       pair.Peer.String(),
		Network:    s.Leases.Network().String(),
		MTU:        s.MTU,
		Qlen:       s.Qlen,
		Keepalive:  s.Keepalive.Seconds(),
		Session:    session,
		Credential: credential,
	}, nil
}

// dismiss ends what admit began.
func (s *Server) dismiss(p *peer) {
	s.Leases.Release(p.holder)
	s.peers.remove(p)
	p.cancel(nil)
	p.queue.Close()
	lost := p.queue.Drops()
	s.drops.count(dropQueue, lost.Full)
	s.drops.count(dropCoDel, lost.CoDel)
	close(p.gone)
}

// maxSession is the longest session that a client may name, in bytes.
const maxSession = 64

// A peer is one client that is connected.
type peer struct {
	holder  lease.Holder
	token   auth.Token
	remote  string // where it connects from
	since   time.Time
	address netip.Addr // set once, before the peer is found by it
	routes  *bart.Lite // what else it may send from; nil is nothing
	queue   *transport.Queue
	ctx     context.Context //nolint:containedctx // the peer's life: whoever replaces it ends it, from another request
	cancel  context.CancelCauseFunc
	gone    chan struct{} // closed when its lease is released
}

// newPeer returns the client that came by r with this token and session. It ends with r at the latest.
func newPeer(r *http.Request, token auth.Token, session string) *peer {
	p := &peer{
		holder: lease.Holder{Token: token.ID, Machine: session}, token: token, remote: r.RemoteAddr, since: time.Now(),
		queue: transport.NewQueue(queueLimit), gone: make(chan struct{}),
	}
	if token.Sole() {
		p.holder.Machine = ""
	}
	for _, prefix := range token.Routes {
		if p.routes == nil {
			p.routes = new(bart.Lite)
		}
		p.routes.Insert(prefix)
	}
	p.ctx, p.cancel = context.WithCancelCause(r.Context())
	return p
}
