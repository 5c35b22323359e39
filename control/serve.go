package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/defect"
	"tunnel/server"
	"tunnel/transport/fq/meter"
)

// maxRequest is the most bytes of a request's body.
const maxRequest = 64 << 10

// requestTimeout bounds one request.
const requestTimeout = 10 * time.Second

// listener lets in who is allowed, and removes the socket when it is closed.
type listener struct {
	*net.UnixListener
	path string // "" if another process removes it
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.UnixListener.Accept()
		if err != nil {
			return nil, err
		}
		if allowed(conn) == nil {
			return conn, nil
		}
		_ = conn.Close()
	}
}

func (l *listener) Close() error {
	if l.path != "" {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

// Serve answers on ln for s, which is own, until ctx ends. It closes ln, and returns
// when no request is being answered.
func Serve(ctx context.Context, ln net.Listener, s *server.Server, own Own,
	log *slog.Logger) {
	if err := serve(ctx, ln, handler(s, own), log); err != nil {
		log.Error("the control socket ended: tunnel token does not reach this server any more",
			"err", err)
	}
}

// serve answers on ln by handler until ctx ends, and then returns nil.
func serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	var defects defect.Log
	web := &http.Server{
		Handler:           contained(handler, &defects, log),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withCaller,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if web.Shutdown(last) != nil {
			_ = web.Close()
		}
	})
	err := web.Serve(&containedListener{ln, ctx.Done(), &defects, log})
	if !stop() {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func handler(s *server.Server, own Own) http.Handler {
	mux, record := http.NewServeMux(), own.Record
	handleStatus(mux, s, record)
	handleWeb(mux, own.Link)
	handleReload(mux, own.Reloads)
	handleExport(mux, own)
	mux.HandleFunc("GET /join", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, own.Join, nil)
	})
	mux.HandleFunc("GET /tokens", func(w http.ResponseWriter, _ *http.Request) {
		all, err := s.ListTokens()
		answer(w, http.StatusOK, all, err)
	})
	mux.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		var spec auth.Spec
		if err := read(w, r, &spec); err != nil {
			answer(w, 0, nil, err)
			return
		}
		token, text, err := s.CreateToken(spec)
		if err == nil {
			record(audit.OfToken(audit.TokenCreated, token).By(caller(r)))
		}
		answer(w, http.StatusCreated, Made{token, text}, err)
	})
	mux.HandleFunc("PATCH /tokens/{name}", func(w http.ResponseWriter, r *http.Request) {
		var change auth.Change
		err := read(w, r, &change)
		var token auth.Token
		if err == nil {
			token, err = s.SetToken(r.PathValue("name"), change)
		}
		if err == nil {
			record(audit.OfChange(token, change).By(caller(r)))
		}
		answer(w, http.StatusNoContent, nil, err)
	})
	mux.HandleFunc("DELETE /tokens/{name}", func(w http.ResponseWriter, r *http.Request) {
		//nolint:contextcheck // what ends with a token does so even if nobody waits for it
		token, err := s.RevokeToken(r.PathValue("name"))
		if err == nil {
			record(audit.OfToken(audit.TokenRevoked, token).By(caller(r)))
		}
		answer(w, http.StatusNoContent, nil, err)
	})
	return mux
}

// read reads a request's body, strictly.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", auth.ErrSpec, err)
	}
	return nil
}

// answer writes a body, or err in its place.
func answer(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		body, status = failed{err.Error()}, http.StatusInternalServerError
		if auth.IsRefusal(err) || errors.Is(err, server.ErrNoTokens) ||
			errors.Is(err, server.ErrNotConnected) || errors.Is(err, errNoPage) ||
			errors.As(err, new(BadFileError)) {
			status = http.StatusBadRequest
		}
		if errors.Is(err, meter.ErrBusy) {
			status = http.StatusTooManyRequests
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(body) // who has hung up need not hear
	}
}
