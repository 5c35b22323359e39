package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
)

// kick asks a server to end a client's sessions.
type kick struct {
	Client  string  `json:"client"`  // a token's name, or an address
	Seconds float64 `json:"seconds"` // until they are to come back
}

// kicked is the answer.
type kicked struct {
	Sessions int `json:"sessions"`
}

// handleStatus has mux answer what a server is asked beside its tokens.
func handleStatus(mux *http.ServeMux, s *server.Server) {
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Status(), nil)
	})
	mux.HandleFunc("POST /kick", func(w http.ResponseWriter, r *http.Request) {
		var k kick
		err := read(w, r, &k)
		if err == nil && !(k.Seconds >= 0 && k.Seconds <= transport.MaxKick.Seconds()) {
			err = auth.ErrSpec
		}
		var done kicked
		if err == nil {
			done.Sessions, err = s.Kick(k.Client, time.Duration(k.Seconds*float64(time.Second)))
		}
		answer(w, http.StatusOK, done, err)
	})
}

// Status returns the server's status. What it says may be of a server that was broken into.
func (c *Client) Status(ctx context.Context) (hub status.Hub, err error) {
	err = c.call(ctx, http.MethodGet, "/status", nil, http.StatusOK, into(&hub))
	return hub, err
}

// Kick ends the sessions of a token's clients, or of the client that has an address, has them come
// back after that time, and returns how many there were.
func (c *Client) Kick(ctx context.Context, who string, after time.Duration) (int, error) {
	var done kicked
	err := c.call(ctx, http.MethodPost, "/kick", kick{who, after.Seconds()}, http.StatusOK,
		into(&done))
	return done.Sessions, err
}

// into returns a function that reads a status, or a part of one, into a value.
func into(value any) func(io.Reader) error {
	return func(body io.Reader) error {
		return json.NewDecoder(limited(body, maxList)).Decode(value)
	}
}

// ClientSuffix ends the name of a client's control socket, behind the name of its journal.
const ClientSuffix = ".control"

// ErrNoClient is that of ClientStatus where no client runs.
var ErrNoClient = errors.New("no client runs here")

// ListenClient makes the control socket of the client whose journal has that name in dir, and which
// holds it. Give the listener to ServeClient.
func ListenClient(dir, journal string) (net.Listener, error) {
	socket, err := NewSocket()
	if err != nil {
		return nil, err
	}
	return socket.listen(dir, journal+ClientSuffix)
}

// File returns a copy of a listener of ListenClient, for another process. The socket keeps its name
// until the listener is closed.
func File(ln net.Listener) (*os.File, error) {
	l, ok := ln.(*listener)
	if !ok {
		return nil, errors.New("not a control socket")
	}
	return l.File()
}

// ServeClient answers on ln, from ListenClient in this or another process, until ctx ends. It
// closes ln, and returns when no request is being answered.
func ServeClient(ctx context.Context, ln net.Listener, ask func() status.Client,
	log *slog.Logger) {
	if l, ok := ln.(*net.UnixListener); ok { // of another process, which removes the name
		l.SetUnlinkOnClose(false)
		ln = &listener{UnixListener: l}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, ask(), nil)
	})
	if err := serve(ctx, ln, mux, log); err != nil {
		log.Error("the control socket ended: tunnel status does not reach this client any more",
			"err", err)
	}
}

// ClientStatus returns the status of the client whose journal has that name in dir. Without one the
// error is an ErrNoClient. What it says may be of a client that was broken into.
func ClientStatus(ctx context.Context, dir, journal string) (c status.Client, err error) {
	err = newClient(dir, journal+ClientSuffix).
		call(ctx, http.MethodGet, "/status", nil, http.StatusOK, into(&c))
	if errors.Is(err, ErrNoServer) {
		err = ErrNoClient
	}
	return c, err
}

// RemoveStale removes the sockets of the client whose journal has that name in dir, and which has
// been killed.
func RemoveStale(dir, journal string) error {
	var failed error
	for _, suffix := range []string{ClientSuffix, confirmSuffix} {
		err := os.Remove(filepath.Join(dir, journal+suffix))
		if !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
