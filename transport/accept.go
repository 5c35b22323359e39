package transport

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"nhooyr.io/websocket"
)

// Accept upgrades a request that the caller has authenticated. The server must listen through Listener and use
// ConnContext. congestion is as in Dialer. When it fails it has answered the request.
func Accept(w http.ResponseWriter, r *http.Request, congestion string) (*Conn, error) {
	under, ok := r.Context().Value(wireKey{}).(*wire)
	if !ok {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return nil, errors.New("accept: the server does not listen through transport.Listener")
	}
	hands := &handshake{wire: under}
	ws, err := websocket.Accept(hijacker{w, hands}, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	if under.under != nil {
		under.under.trust()
	}
	early, err := hands.end(ws)
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	c := newConn(under, early, false, congestion)
	// The http.Server's time-outs stay on a connection that it hands over.
	_ = under.SetDeadline(time.Time{})
	if ws.Subprotocol() != Subprotocol {
		return nil, c.violation("subprotocol " + Subprotocol + " is spoken here")
	}
	return c, nil
}
