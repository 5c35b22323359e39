// Package upgrade is the opening handshake of a WebSocket (RFC 6455 section 4), from both sides: an
// HTTP/1.1 request and its answer, and what an answer that is another means. It hides
// nhooyr.io/websocket.
package upgrade

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/tcp"

	"nhooyr.io/websocket"
)

// tokenHeader carries the token where Authorization is for somebody else; as auth.TokenHeader.
const tokenHeader = "Tunnel-Authorization"

// upgradeTimeout is the time that an answer to the request may take.
const upgradeTimeout = 10 * time.Second

// A Request is what a client asks the server by.
type Request struct {
	URL               *url.URL
	Header            http.Header // of the user; may be nil
	Token             string      // sent as Authorization: Bearer; "" is none
	ClientCertificate bool        // the client has one: a refusal may be about that
}

// Client asks the server at the other end of conn for the WebSocket, and returns what came right
// behind its answer. The error is a *transport.StepError; conn is then unchanged.
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
		if header.Get(name) != "" { // of a proxy in front
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
