package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
)

// confirmSuffix ends the name of the socket of a client that waits to be confirmed.
const confirmSuffix = ".sock"

// ErrNotWaiting is that of Confirm where no client waits to be confirmed.
var ErrNotWaiting = errors.New("no client waits to be confirmed")

// ListenConfirm makes the socket of the client whose journal has that name in dir, and which holds
// it. Give the listener to ServeConfirm.
func ListenConfirm(dir, journal string) (net.Listener, error) {
	socket, err := NewSocket()
	if err != nil {
		return nil, err
	}
	return socket.listen(dir, journal+confirmSuffix)
}

// ServeConfirm calls confirm for each confirmation that arrives on ln, until ctx ends. It closes
// ln.
func ServeConfirm(ctx context.Context, ln net.Listener, confirm func() error,
	log *slog.Logger) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /confirm", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNoContent, nil, confirm())
	})
	if err := serve(ctx, ln, mux, log); err != nil {
		log.Error("the control socket ended: tunnel confirm does not reach this client any more",
			"err", err)
	}
}

// Confirm confirms the client whose journal has that name in dir. Without one the error is an
// ErrNotWaiting.
func Confirm(ctx context.Context, dir, journal string) error {
	err := newClient(dir, journal+confirmSuffix).
		call(ctx, http.MethodPost, "/confirm", nil, http.StatusNoContent, nil)
	if errors.Is(err, ErrNoServer) {
		return ErrNotWaiting
	}
	return err
}
