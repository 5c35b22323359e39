package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/server"
)

// maxRequest is the most bytes of a request's body.
const maxRequest = 64 << 10

// requestTimeout bounds one request.
const requestTimeout = 10 * time.Second

// Listen makes the socket in dir, whose state this process has locked: a socket that is there
// already is a killed server's. Give the listener to Serve.
func Listen(ctx context.Context, dir string) (net.Listener, error) {
	path := filepath.Join(dir, SocketName)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way: it is not a socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var ln *net.UnixListener
	err := reach(dir, func(name string) (err error) {
		// The file gets the mode of the socket (unix_bind): it has none that is wider even for a
		// moment, and the sandbox refuses chmod(2).
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) })
			return errors.Join(err, failed)
		}}
		l, err := config.Listen(ctx, "unix", name)
		if err == nil {
			ln, _ = l.(*net.UnixListener)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false) // it would by the name that was bound, which is over
	return &listener{ln, path}, nil
}

// listener lets in who is allowed, and removes the socket when it is closed.
type listener struct {
	*net.UnixListener
	path string
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
	_ = os.Remove(l.path)
	return l.UnixListener.Close()
}

// Serve answers on ln for s, which clients join by join, until ctx ends. It closes ln, and returns
// when no request is being answered.
func Serve(ctx context.Context, ln net.Listener, s *server.Server, join Join,
	log *slog.Logger) {
	web := &http.Server{
		Handler:           handler(s, join),
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
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
	if err := web.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		log.Error("the control socket ended: tunnel token does not reach this server any more",
			"err", err)
	}
	if !stop() {
		<-ended
	}
}

func handler(s *server.Server, join Join) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /join", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, join, nil)
	})
	mux.HandleFunc("GET /tokens", func(w http.ResponseWriter, _ *http.Request) {
		all, err := s.ListTokens()
		answer(w, http.StatusOK, all, err)
	})
	mux.HandleFunc("POST /tokens", func(w http.ResponseWriter, r *http.Request) {
		var spec auth.Spec
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		d.DisallowUnknownFields()
		if err := d.Decode(&spec); err != nil {
			answer(w, 0, nil, fmt.Errorf("%w: %w", auth.ErrSpec, err))
			return
		}
		token, text, err := s.CreateToken(spec)
		answer(w, http.StatusCreated, Made{token, text}, err)
	})
	mux.HandleFunc("DELETE /tokens/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNoContent, nil, s.RevokeToken(r.PathValue("name")))
	})
	return mux
}

// answer writes a body, or err in its place.
func answer(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		body, status = failed{err.Error()}, http.StatusInternalServerError
		for _, e := range []error{auth.ErrName, auth.ErrExists, auth.ErrUnknown, auth.ErrSpec,
			auth.ErrGiven, server.ErrNoTokens} {
			if errors.Is(err, e) {
				status = http.StatusBadRequest
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		_ = json.NewEncoder(w).Encode(body) // who has hung up need not hear
	}
}
