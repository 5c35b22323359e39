package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/client/refusal"
	"tunnel/client/store"
	"tunnel/host"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// An endpoint is an address of a server that this client may join, with the client's state for it.
type endpoint struct {
	server int           // its number; several endpoints may be ports of one server
	dialer ws.Dialer     // its Token is replaced by the credential for it
	resume store.Session // what to request on the next attempt
	// what this server last granted, without the device's name; zero before
	granted host.Want
	changed time.Time     // when the server last changed that
	warned  bool          // that the connection to it is not encrypted
	doubt   refusal.Doubt // why it is left alone for some time
}

func (t *endpoint) url() string { return t.dialer.URL.String() }

// newEndpoints returns the servers of the Config in their order.
func (c *Client) newEndpoints() []*endpoint {
	var all []*endpoint
	c.servers = 0
	for _, d := range append([]*ws.Dialer{c.Dialer}, c.Others...) {
		if !d.Guess || c.servers == 0 {
			c.servers++
		}
		all = append(all, &endpoint{server: c.servers, dialer: *d,
			resume: c.Session.Load(d.URL.String())})
	}
	return all
}

// round tries one server after another until one grants a session, and runs the session. It begins
// with the server of the last session, where this client has its address and its connections
// survive, and goes on in the order of the Config. The error is that of the first server tried,
// unless an attempt at another got further.
func (c *Client) round(ctx context.Context) (connected bool, err error) {
	if c.Redial != nil {
		for i, d := range c.Redial() {
			c.endpoints[i].dialer, c.endpoints[i].doubt = *d, refusal.Doubt{}
		}
	}
	order := c.endpoints
	if c.current != nil {
		order = []*endpoint{c.current}
		for _, t := range c.endpoints {
			if t != c.current {
				order = append(order, t)
			}
		}
	}
	var said refusal.Refusals
	for _, t := range order {
		if time.Now().Before(t.doubt.Until) {
			said.Note(t.server, t.doubt.Err)
			continue
		}
		connected, err := c.session(ctx, t)
		t.doubt.Note(err, time.Now())
		if connected || ctx.Err() != nil || errors.Is(err, errMoved) {
			return connected, err
		}
		if len(order) > 1 {
			level := slog.LevelWarn
			if c.servers == 1 { // the error of the round says it
				level = slog.LevelInfo
			}
			c.Log.Log(ctx, level, "server not joined", "server", t.dialer.URL.Host, "reason", err)
		}
		said.Note(t.server, err)
	}
	return false, said.First()
}

// dial connects to a server, on a path outside the tunnel.
func (c *Client) dial(ctx context.Context, t *endpoint) (*ws.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.monitor.dialling(func() { cancel(errMoved) })
	var tried []netip.Addr
	var noRoute error // why the look-up alone would have failed
	dialer := t.dialer
	dialer.Known = c.known
	dialer.Before = func(ctx context.Context, to netip.AddrPort) error {
		hop := to.Addr()
		if c.link.Network.Contains(hop) { // the bypass would cut that address off from the tunnel
			return &transport.StepError{Step: transport.StepTCP,
				Err: fmt.Errorf("%s lies inside the tunnel, in %s: no path to the server", hop,
					c.link.Network),
				Advice: "let the name resolve to the server's public address, or give that in the URL"}
		}
		tried = append(tried, hop)
		if !t.warned && dialer.Clear(hop) {
			t.warned = true
			c.Log.Warn("ws:// is not encrypted: anyone on the path can read and change the token "+
				"and all packets: use wss://",
				"server", t.dialer.URL.Host)
		}
		unknown, err := c.monitor.try(ctx, to)
		noRoute = cmp.Or(noRoute, unknown)
		return err
	}
	conn, err := dialer.Dial(ctx)
	if err == nil {
		c.monitor.connected(conn)
		return conn, nil
	}
	if noRoute != nil && (errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) ||
		errors.Is(err, unix.EACCES) ||
		errors.Is(err, unix.EINVAL)) {
		err = noRoute // and so it is
	}
	if errors.Is(context.Cause(ctx), errMoved) {
		err = errMoved
	}
	// Bypasses of earlier attempts, to addresses that the name may no longer have.
	if ctx.Err() == nil {
		if undo := c.Host.Retain(ctx, tried...); undo != nil {
			err = errors.Join(err, undo)
		}
	}
	return nil, err
}

// learn records the addresses of a session, for use when their names do not resolve.
func (c *Client) learn(conn *ws.Conn) {
	known := maps.Clone(c.known)
	if known == nil || len(known) >= store.MaxKnown {
		known = map[string]netip.Addr{}
	}
	maps.Copy(known, conn.Known())
	c.known = known
	c.Session.Learn(known)
}

// forget undoes learn: the server is not, or no longer, at these addresses.
func (c *Client) forget(conn *ws.Conn) {
	c.known = maps.Clone(c.known)
	maps.DeleteFunc(c.known, func(host string,
		a netip.Addr) bool {
		return conn.Known()[host] == a
	})
}

// wish returns which address to request from a server: the one that it granted last, else the one
// that the device has from another server, so that connections inside the tunnel survive if both
// serve one network. The zero Addr requests none.
func (c *Client) wish(t *endpoint) netip.Addr {
	switch {
	case c.Wanted.IsValid():
		return c.Wanted
	case t.resume.Address.IsValid():
		return t.resume.Address
	}
	return c.link.Address
}

// rest returns how long to wait until the first server may be tried again.
func (c *Client) rest(now time.Time) time.Duration {
	var least time.Duration
	for i, t := range c.endpoints {
		if left := t.doubt.Until.Sub(now); i == 0 || left < least {
			least = left
		}
	}
	return max(least, 0)
}

// rouse shortens the wait for all servers after the path to them has changed.
func (c *Client) rouse() {
	for _, t := range c.endpoints {
		t.doubt.Rouse()
	}
}
