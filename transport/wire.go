package transport

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// wire is the network connection under a WebSocket. It notes when the last byte came in: whatever comes is a sign of
// life, be it half of a large message.
type wire struct {
	net.Conn
	heard atomic.Int64 // time of the last read, nanoseconds since start
	start time.Time
}

func newWire(c net.Conn) *wire { return &wire{Conn: c, start: time.Now()} }

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard.Store(int64(time.Since(w.start)))
	}
	return n, err
}

// silence returns for how long nothing has come in.
func (w *wire) silence() time.Duration {
	return time.Since(w.start) - time.Duration(w.heard.Load())
}

// Listener wraps l so that Accept can reach the network connection under each request. Give it, with ConnContext, to the
// http.Server; above TLS, not below.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newWire(c), nil
}

type wireKey struct{}

// ConnContext is the http.Server's hook of that name: it hands the connection of Listener to Accept.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}
