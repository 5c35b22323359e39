// Package upgrade makes the opening handshake of a WebSocket (RFC 6455 section 4), on both sides,
// and explains HTTP responses that refuse it. It hides nhooyr.io/websocket.
package upgrade

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"nhooyr.io/websocket"

	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/redact"
	"tunnel/transport/tcp"
)

// tokenHeader carries the token when Authorization is for a proxy in front; as auth.TokenHeader.
const tokenHeader = "Tunnel-Authorization"

// upgradeTimeout bounds the time until the response.
const upgradeTimeout = 10 * time.Second

// A Request has the fields of a client's request for a WebSocket.
type Request struct {
	URL               *url.URL
	Header            http.Header // the user's headers; may be nil
	Token             string      // sent as Authorization: Bearer; "" for none
	ClientCertificate bool        // the client has one, which a refusal may be about
	Sent              redact.Set  // hidden in what comes back
	// called with each response, whose body it must not read; may be nil
	Answered func(*http.Response)
}

// Client requests a WebSocket on conn, and returns the bytes that have arrived after the response.
// The error is a *transport.StepError; conn is then unchanged.
func Client(ctx context.Context, conn *tcp.Conn, d Request) (early []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, upgradeTimeout)
	defer cancel()
	hands := &handshake{Conn: conn, asked: make(chan struct{})}
	hands.client = &http.Transport{DialContext: hands.dial, DisableKeepAlives: true,
		DisableCompression: true, MaxResponseHeaderBytes: diagnose.MaxAnswer}
	client := &http.Client{
		Transport: hands,
		CheckRedirect: func(*http.Request,
			[]*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	// conn has TLS already, if the URL wants it.
	u := *d.URL
	u.Scheme, u.Host = "ws", strings.TrimSuffix(net.JoinHostPort(transport.PeerHost(d.URL),
		d.URL.Port()), ":")
	header := d.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if d.Token != "" {
		name := "Authorization"
		if header.Get(name) != "" { // for a proxy in front
			name = tokenHeader
		}
		header.Set(name, "Bearer "+d.Token)
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient:      client,
		HTTPHeader:      header,
		Host:            header.Get("Host"),
		Subprotocols:    []string{transport.Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if resp != nil {
		d.Sent.Response(resp)
	}
	if resp != nil && d.Answered != nil {
		d.Answered(resp)
	}
	if err != nil {
		return nil, d.refused(ctx, resp, hands.answerStart(), err)
	}
	if ws.Subprotocol() != transport.Subprotocol {
		_ = ws.CloseNow()
		return nil, &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%s is a WebSocket server of another kind: it does not speak %s",
				transport.Readable(d.URL), transport.Subprotocol),
			Reason: transport.ReasonURL, Advice: ", and that no proxy in front removes " +
				"Sec-WebSocket-Protocol"}
	}
	early, err = hands.end(ws)
	if err != nil {
		return nil, &transport.StepError{Step: transport.StepHTTP,
			Err: fmt.Errorf("%s: %w", transport.Readable(d.URL), err), Reason: transport.ReasonURL}
	}
	return early, nil
}
