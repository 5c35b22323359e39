package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tunnel/client/backoff"
	"tunnel/client/push"
	"tunnel/client/refusal"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// A session is one session with a server, over one or more connections, its lanes. It lasts while
// one of them is up; the others are dialled again when they break.
type session struct {
	client   *Client
	endpoint *endpoint
	link     transport.Link
	// the address of all of them: another address of the same name may be another server
	hop   netip.Addr
	inbox *push.Inbox    // of updates
	rules *policy.Client // for packets from the server

	mu   sync.Mutex
	up   int
	over bool
	err  error // why it is over
}

// runSession forwards packets over the session that began with first, and returns why it ended.
func (c *Client) runSession(ctx context.Context, t *endpoint, first *ws.Conn,
	link transport.Link, updates *push.Inbox) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{client: c, endpoint: t, link: link, hop: first.Hop(), up: 1, inbox: updates,
		rules: &policy.Client{Address: link.Address, Network: link.Network, Behind: c.behind,
			Public: c.Full.On}}
	c.pushed.Begin(s.rules)
	var group sync.WaitGroup
	group.Go(func() { c.pushed.Follow(ctx, s.inbox, link.Peer, s.rules) })
	for i := 1; i < min(c.Lanes, link.Lanes); i++ {
		group.Go(func() { s.keep(ctx, end, i, nil) })
	}
	s.keep(ctx, end, 0, first)
	group.Wait()
	return s.err
}

// keep keeps lane i connected until the session is over; conn is its connection, nil if there is
// none yet. The lane that ends the session calls end.
func (s *session) keep(ctx context.Context, end func(error), i int, conn *ws.Conn) {
	var wait backoff.Backoff
	var least time.Duration // that the server asked for
	log := s.client.Log.With("lane", i)
	for again := conn != nil; ; again = true {
		if conn == nil {
			if again && !pause(ctx, wait.Next(time.Now())+least) {
				return
			}
			var err error
			if conn, err = s.attach(ctx, i); err != nil {
				if ctx.Err() != nil {
					return
				}
				log.Warn("lane not connected", "reason", err)
				var busy *transport.BusyError
				if least = 0; errors.As(err, &busy) {
					least = busy.After
				}
				// repeated attempts would end in a ban
				if refusal.Permanent(err) || refusal.Doubtful(err) && !pause(ctx, refusal.Pause) {
					return
				}
				continue
			}
			log.Info("lane connected", conn.Security())
		}
		began := time.Now()
		err := s.run(ctx, conn)
		if s.lost(ctx, err) {
			end(err)
			return
		}
		log.Warn("lane lost", "reason", err)
		if time.Since(began) > backoff.Steady {
			wait = backoff.Backoff{}
		}
		conn = nil
	}
}

// pause waits for d. It returns false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attach connects lane i to the session.
func (s *session) attach(ctx context.Context, i int) (*ws.Conn, error) {
	dialer := s.endpoint.dialer
	dialer.Hop, dialer.Known = s.hop, s.client.known
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	conn.OnUpdate(s.inbox.Put)
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	link, err := conn.Request(asking, transport.Connect{Session: s.link.Session, Lane: &i},
		s.client.Device.Offload())
	switch {
	case err != nil:
		conn.Close(transport.CodeGoingAway, "no connected in time")
		return nil, err
	case link.Address != s.link.Address:
		conn.Close(transport.CodeNormal, "not this session's address")
		return nil, fmt.Errorf("the server gave it another address: %s", link.Address)
	}
	if !s.joined(conn) {
		conn.Close(transport.CodeNormal, "the session is over")
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// joined adds a connection to the session. It returns false if the session is over.
func (s *session) joined(conn *ws.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.up++
	s.client.monitor.joined(conn)
	return true
}

// run forwards packets over one lane until it ends.
func (s *session) run(ctx context.Context, conn *ws.Conn) error {
	q := s.client.queue.Join()
	defer s.client.queue.Leave(q)
	defer s.client.monitor.left(conn)
	err := conn.Run(ctx, q, s.link.Keepalive, s.client.receive(s.rules))
	s.client.defects.Note(err, s.client.Log)
	return err
}

// lost removes a lane, and reports whether the session is over: it was the last lane, ctx has
// ended, or the server ended the session.
func (s *session) lost(ctx context.Context, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up--
	if !s.over && (s.up == 0 || ctx.Err() != nil || refusal.EndsSession(err)) {
		s.over, s.err = true, err
	}
	return s.over
}
