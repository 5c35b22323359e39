package ws

import (
	"context"
	"errors"
	"net/http"

	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws/upgrade"
)

// Dialer makes WebSockets to one server. Its fields are not changed once Dial was called.
type Dialer struct {
	dial.Dialer
	// the port is a guess: this is another port of the server of the Dialer before it
	Guess  bool
	Token  string      // sent as Authorization: Bearer; may be empty
	Header http.Header // further headers of the request; may be nil
	// congestion control of the connection, as the kernel names it, or tcp.CongestionAuto; "" is
	// the system's default
	Congestion string
}

// Dial resolves the name, connects, and makes the opening handshake, one step after the other; the
// error is a *transport.StepError that names the step. The connection is in transport.StateInit.
func (d *Dialer) Dial(ctx context.Context) (*Conn, error) {
	c, guess, err := d.dial(ctx)
	if err == nil || !guess || ctx.Err() != nil {
		return c, err
	}
	// An address of Known may belong to another host by now: try the present addresses of the name.
	again := *d
	again.Known = nil
	c, _, other := again.dial(ctx)
	var step *transport.StepError
	if errors.As(other, &step) && step.Step == transport.StepName {
		return nil, err
	}
	return c, other
}

// dial is one attempt; guess reports that it used an address of Known that the resolver did not
// confirm.
func (d *Dialer) dial(ctx context.Context) (c *Conn, guess bool, err error) {
	below := d.Dialer
	below.Sent = below.Sent.AndRequest(d.Token, d.Header)
	under, via, err := below.Connect(ctx)
	if err != nil {
		return nil, via.Guess, err
	}
	end := via.Took.Begin(transport.StepHTTP)
	early, err := upgrade.Client(ctx, under, upgrade.Request{
		URL: d.URL, Header: d.Header, Token: d.Token, ClientCertificate: d.TLS != nil &&
			d.TLS.GetClientCertificate != nil, Sent: via.Sent,
	})
	if end(); err != nil {
		_ = under.Close()
		return nil, via.Guess, via.Explain(err)
	}
	c = newConn(under, early, true, d.Congestion)
	c.via, c.in.sent = via, via.Sent
	return c, via.Guess, nil
}
