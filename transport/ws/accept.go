package ws

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/upgrade"
)

// Accept upgrades a request that the caller has authenticated. The server must listen through
// tcp.Listener and use tcp.ConnContext. congestion is as in Dialer. Accept answers the request if
// it fails.
func Accept(w http.ResponseWriter, r *http.Request, congestion string) (*Conn, error) {
	under := tcp.FromContext(r.Context())
	if under == nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError),
			http.StatusInternalServerError)
		return nil, errors.New("accept: the server does not listen through tcp.Listener")
	}
	early, protocol, err := upgrade.Server(w, r, under)
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	under.Trust()
	c := newConn(under, early, false, congestion)
	// The http.Server's time-outs stay on a connection that it hands over.
	_ = under.SetDeadline(time.Time{})
	if protocol != transport.Subprotocol {
		return nil, c.violation("subprotocol " + transport.Subprotocol + " is spoken here")
	}
	return c, nil
}
