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

	"tunnel/client/store"
	"tunnel/host"
	"tunnel/transport"
)

// An endpoint is one of the servers that this client may join, and what it has there.
type endpoint struct {
	server int              // which one it is; several endpoints may be one server on several ports
	dialer transport.Dialer // Token becomes the credential that the server gives for it
	resume store.Session    // what to ask for on the next attempt
	// what the device last had at this server's word, without its name; none before
	granted host.Want
	changed time.Time // when the server last changed that
	warned  bool      // that the connection to it is not encrypted
	doubt   doubt     // why it is left alone for some time
}

func (t *endpoint) url() string { return t.dialer.URL.String() }

// newEndpoints returns the servers of the Config in their order.
func (c *Client) newEndpoints() []*endpoint {
	var all []*endpoint
	c.servers = 0
	for _, d := range append([]*transport.Dialer{c.Dialer}, c.Others...) {
		if !d.Guess || c.servers == 0 {
			c.servers++
		}
		all = append(all, &endpoint{server: c.servers, dialer: *d,
			resume: c.Session.Load(d.URL.String())})
	}
	return all
}

// round asks one server after the other until one has given a session, and waits for the session's
// end. First comes the server of the last session, because there this client has its address, and
// its connections go on; then the others in the order of the Config. The error is that of the
// server that was asked first, unless another had a more hopeful one.
func (c *Client) round(ctx context.Context) (connected bool, err error) {
	order := c.endpoints
	if c.current != nil {
		order = []*endpoint{c.current}
		for _, t := range c.endpoints {
			if t != c.current {
				order = append(order, t)
			}
		}
	}
	var said refusals
	for _, t := range order {
		if time.Now().Before(t.doubt.until) {
			said.note(t, t.doubt.err)
			continue
		}
		connected, err := c.session(ctx, t)
		t.doubt.note(err, time.Now())
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
		said.note(t, err)
	}
	return false, said.first()
}

// dial connects to a server, by a path outside the tunnel.
func (c *Client) dial(ctx context.Context, t *endpoint) (*transport.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.monitor.dialling(func() { cancel(errMoved) })
	var tried []netip.Addr
	var noRoute error // why the look-up alone would have failed
	dialer := t.dialer
	dialer.Known = c.known
	dialer.Before = func(ctx context.Context, hop netip.Addr) error {
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
		unknown, err := c.monitor.try(ctx, hop)
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
	// Those of earlier attempts, which a name has perhaps no longer.
	if ctx.Err() == nil {
		if undo := c.Host.Retain(ctx, tried...); undo != nil {
			err = errors.Join(err, undo)
		}
	}
	return nil, err
}

// learn keeps the addresses by which a session was reached, for when their names do not resolve.
func (c *Client) learn(conn *transport.Conn) {
	known := maps.Clone(c.known)
	if known == nil || len(known) >= store.MaxKnown {
		known = map[string]netip.Addr{}
	}
	maps.Copy(known, conn.Known())
	c.known = known
	c.Session.Learn(known)
}

// forget is the opposite of learn: what answers there is not, or no longer, the server.
func (c *Client) forget(conn *transport.Conn) {
	c.known = maps.Clone(c.known)
	maps.DeleteFunc(c.known, func(host string,
		a netip.Addr) bool {
		return conn.Known()[host] == a
	})
}

// wish says which address to ask a server for: what it gave last time, else what the device has now
// from another server, so that connections inside survive if both serve one network. The zero Addr
// leaves it to the server.
func (c *Client) wish(t *endpoint) netip.Addr {
	switch {
	case c.Wanted.IsValid():
		return c.Wanted
	case t.resume.Address.IsValid():
		return t.resume.Address
	}
	return c.link.Address
}
