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

// A bundle is the connections of one session, its lanes. The session lasts while one of them is up;
// one that breaks is dialled again meanwhile.
type bundle struct {
	client *Client
	target *target
	link   transport.Link
	// where all of them lead: another address of the same name may be another server
	hop netip.Addr

	mu   sync.Mutex
	up   int
	over bool
	err  error // why it is over
}

// ride moves packets over the session that first has begun, until it ends; the error says why.
func (c *Client) ride(ctx context.Context, t *target, first *transport.Conn,
	link transport.Link) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	b := &bundle{client: c, target: t, link: link, hop: first.Hop(), up: 1}
	var group sync.WaitGroup
	for i := 1; i < min(c.Lanes, link.Lanes); i++ {
		group.Go(func() { b.keep(ctx, end, i, nil) })
	}
	b.keep(ctx, end, 0, first)
	group.Wait()
	return b.err
}

// keep keeps lane i up until the session is over; conn is its connection, nil before there is one.
// Whoever finds that the session is over says so to the others by end.
func (b *bundle) keep(ctx context.Context, end func(error), i int, conn *transport.Conn) {
	var wait backoff.Backoff
	var least time.Duration // that the server wants
	log := b.client.Log.With("lane", i)
	for again := conn != nil; ; again = true {
		if conn == nil {
			if again && !pause(ctx, wait.Next(time.Now())+least) {
				return
			}
			var err error
			if conn, err = b.attach(ctx, i); err != nil {
				if ctx.Err() != nil {
					return
				}
				log.Warn("lane not connected", "reason", err)
				var busy *transport.BusyError
				if least = 0; errors.As(err, &busy) {
					least = busy.After
				}
				// who asks again is banned
				if hopeless(err) || doubtful(err) && !pause(ctx, doubtPause) {
					return
				}
				continue
			}
			log.Info("lane connected", conn.Security())
		}
		began := time.Now()
		err := b.run(ctx, conn)
		if b.lost(ctx, err) {
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

// pause waits for so long; false is that ctx has ended.
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
func (b *bundle) attach(ctx context.Context, i int) (*transport.Conn, error) {
	dialer := b.target.dialer
	dialer.Hop, dialer.Known = b.hop, b.client.known
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	link, err := conn.Request(asking, transport.Connect{Session: b.link.Session, Lane: &i},
		b.client.Device.Offload())
	switch {
	case err != nil:
		conn.Close(transport.CodeGoingAway, "no connected in time")
		return nil, err
	case link.Address != b.link.Address:
		conn.Close(transport.CodeNormal, "not this session's address")
		return nil, fmt.Errorf("the server gave it another address: %s", link.Address)
	}
	if !b.joined(conn) {
		conn.Close(transport.CodeNormal, "the session is over")
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

// joined takes note of another connection; it is false when the session is over.
func (b *bundle) joined(conn *transport.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	b.up++
	b.client.watch.joined(conn)
	return true
}

// run moves packets over one lane until it ends.
func (b *bundle) run(ctx context.Context, conn *transport.Conn) error {
	q := b.client.queue.Join()
	defer b.client.queue.Leave(q)
	defer b.client.watch.left(conn)
	err := conn.Run(ctx, q, b.link.Keepalive, b.client.receive(b.link))
	b.client.defects.Note(err, b.client.Log)
	return err
}

// lost takes note that a lane is lost, and tells whether the session is over: because it was the
// last, because ctx has ended, or because the server has said so to all of them.
func (b *bundle) lost(ctx context.Context, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.up--
	if !b.over && (b.up == 0 || ctx.Err() != nil || endsSession(err)) {
		b.over, b.err = true, err
	}
	return b.over
}

// endsSession tells whether what ended a lane ends all of them.
func endsSession(err error) bool {
	var closed *transport.CloseError
	all := []transport.Code{transport.CodeGoingAway, transport.CodeRestart, transport.CodeReplaced,
		transport.CodeRevoked}
	return errors.As(err, &closed) && closed.Remote && slices.Contains(all, closed.Code)
}
