package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tunnel/client/backoff"
	"tunnel/transport"
)

// A session is the connections of one session with a server, its lanes. The session lasts while one
// of them is up; one that breaks is dialled again meanwhile.
type session struct {
	client   *Client
	endpoint *endpoint
	link     transport.Link
	// where all of them lead: another address of the same name may be another server
	hop netip.Addr

	mu   sync.Mutex
	up   int
	over bool
	err  error // why it is over
}

// runSession moves packets over the session that first has begun, until it ends; the error says
// why.
func (c *Client) runSession(ctx context.Context, t *endpoint, first *transport.Conn,
	link transport.Link) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	s := &session{client: c, endpoint: t, link: link, hop: first.Hop(), up: 1}
	var group sync.WaitGroup
	for i := 1; i < min(c.Lanes, link.Lanes); i++ {
		group.Go(func() { s.keep(ctx, end, i, nil) })
	}
	s.keep(ctx, end, 0, first)
	group.Wait()
	return s.err
}

// keep keeps lane i up until the session is over; conn is its connection, nil before there is one.
// The lane that finds the session over tells the others by end.
func (s *session) keep(ctx context.Context, end func(error), i int, conn *transport.Conn) {
	var wait backoff.Backoff
	var least time.Duration // that the server wants
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
				// who asks again is banned
				if permanent(err) || doubtful(err) && !pause(ctx, doubtPause) {
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
func (s *session) attach(ctx context.Context, i int) (*transport.Conn, error) {
	dialer := s.endpoint.dialer
	dialer.Hop, dialer.Known = s.hop, s.client.known
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
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

// joined takes note of another connection; it is false when the session is over.
func (s *session) joined(conn *transport.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.up++
	s.client.monitor.joined(conn)
	return true
}

// run moves packets over one lane until it ends.
func (s *session) run(ctx context.Context, conn *transport.Conn) error {
	q := s.client.queue.Join()
	defer s.client.queue.Leave(q)
	defer s.client.monitor.left(conn)
	err := conn.Run(ctx, q, s.link.Keepalive, s.client.receive(s.link))
	s.client.defects.Note(err, s.client.Log)
	return err
}

// lost takes note that a lane is lost, and reports whether the session is over: because it was the
// last, because ctx has ended, or because the server has said so to all of them.
func (s *session) lost(ctx context.Context, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up--
	if !s.over && (s.up == 0 || ctx.Err() != nil || endsSession(err)) {
		s.over, s.err = true, err
	}
	return s.over
}

// endsSession reports whether what ended a lane ends all of them.
func endsSession(err error) bool {
	var closed *transport.CloseError
	all := []transport.Code{transport.CodeGoingAway, transport.CodeRestart, transport.CodeReplaced,
		transport.CodeRevoked}
	return errors.As(err, &closed) && closed.Remote && slices.Contains(all, closed.Code)
}
