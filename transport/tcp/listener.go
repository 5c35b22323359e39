package tcp

import (
	"context"
	"crypto/tls"
	"net"

	"tunnel/transport/harden"
)

// Listener wraps the TCP listener l so that Accept can reach the connection under each request, and
// serves TLS on it unless config is nil. gate, if not nil, is called before each handshake; with a
// gate, a connection may send at most 48 KiB before it is upgraded. The listener is for an
// http.Server that has ConnContext.
func Listener(l net.Listener, config *tls.Config, gate Gate) net.Listener {
	if config != nil {
		config = gated(harden.TLS(config), gate)
	}
	return &listener{l, config, gate != nil}
}

type listener struct {
	net.Listener
	config *tls.Config
	strict bool // limits the bytes before a login
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var secure func(net.Conn) net.Conn
	if l.config != nil {
		secure = func(c net.Conn) net.Conn { return tls.Server(c, l.config) }
	}
	w, err := New(c, secure)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	if w.under != nil && l.strict {
		w.under.early = earlyMost
	}
	return w, nil
}

type wireKey struct{}

// ConnContext is for the field of that name in http.Server: it makes the connection of Listener
// available to FromContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}

// FromContext returns the connection of Listener under a request; nil if there is none.
func FromContext(ctx context.Context) *Conn {
	w, _ := ctx.Value(wireKey{}).(*Conn)
	return w
}
