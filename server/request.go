package server

import (
	"context"
	"net/http"

	"tunnel/defect"
	"tunnel/server/admission"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// serve takes a request from HTTP to the connection that it becomes: precheck, login, upgrade,
// attach, run. A client that is not authenticated is refused before the upgrade. The connection
// outlives the request, whose buffers and large stack an idle client would keep, and the session
// may outlive the connection that began it, as long as life lasts.
func (s *Server) serve(life context.Context, w http.ResponseWriter, r *http.Request) {
	from, ok := s.precheck(w, r)
	if !ok {
		return
	}
	leave := func() { s.limiter.Leave(from.tracked) }
	defer func() { leave() }()
	who, ok := s.login(w, r, from)
	if !ok {
		return
	}
	leave = func() {
		// a client that was here for hours comes from a known address, too
		s.bans.Succeed(from.source)
		s.limiter.Leave(from.tracked)
	}
	conn, request, ok := s.upgrade(w, r, who)
	if !ok {
		return
	}
	who.known.TLS, _ = conn.Wire().TLS()
	c, err := s.attach(life, who, request)
	if err != nil {
		s.refuse(life, conn, err, who)
		return
	}
	c.conn, c.log, c.began = conn, who.log.With("address", c.peer.Address), from.tracked.Accepted
	if request.Lane != nil {
		c.log = c.log.With("lane", c.subflow.Number)
	}
	last := leave
	//nolint:contextcheck // the session's life is the server's
	started := s.sessions.Start(func() {
		defer last()
		ended := s.run(c)
		s.defects.Note(defect.Do(func() { s.disconnect(c, ended) }), c.log)
	})
	if !started {
		s.disconnect(c, nil)
		conn.Close(transport.CodeGoingAway, "the server stops")
		return
	}
	leave = func() {} // the session does it
}

// upgrade makes a request whose login is done a WebSocket, and reads its connect. When it returns
// false the connection is closed.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, who client) (*ws.Conn,
	transport.Connect, bool) {
	conn, err := ws.Accept(w, r, s.Congestion)
	if err != nil {
		s.refusal(admission.Upgrade, who.known, err, who.log).Info("refused", "err", err)
		return nil, transport.Connect{}, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.connect)
	defer cancel()
	request, err := conn.Requested(ctx, s.Device.Offload())
	if err != nil {
		conn.Close(transport.CodeGoingAway, "no connect in time")
		s.refusal(admission.Connect, who.known, err, who.log).Info("refused", "err", err)
		return nil, transport.Connect{}, false
	}
	return conn, request, true
}
