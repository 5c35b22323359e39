// Package foreign tells the log what speaks another protocol than the server, as a proxy in front
// does that is set up wrongly: its own log and the client only say that there is no answer.
package foreign

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
)

// Watch examines how connections begin.
type Watch struct {
	Plain bool // the server has no TLS
	Log   *slog.Logger
}

// note logs that the other side of a connection speaks protocol.
func (w Watch) note(protocol, remote string) {
	wanted := "HTTP/1.1 over TLS"
	if w.Plain {
		wanted = "HTTP/1.1 without TLS"
	}
	//nolint:sloglint // a few messages, each of which is one kind of line to the log's limiter
	w.Log.Warn("refused: something speaks "+protocol+" to this port: if it is a proxy in "+
		"front, set it to "+wanted, "remote", remote)
}

// look examines what the first read of a connection has returned: a ClientHello (RFC 8446 section
// 5.1) to a port without TLS, or the preface of HTTP/2 (RFC 9113 section 3.4) inside TLS or without
// it.
func (w Watch) look(first []byte, err error, remote string) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		first = record.RecordHeader[:]
	}
	switch {
	case w.Plain && len(first) > 1 && first[0] == 22 && first[1] == 3:
		w.note("TLS", remote)
	case bytes.HasPrefix(first, []byte("PRI ")):
		w.note("HTTP/2", remote)
	}
}

// TLS returns a copy of config that examines the protocols that a client offers; nil for nil.
func (w Watch) TLS(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		offers := hello.SupportedProtos
		if slices.Contains(offers, "h2") && !slices.Contains(offers, "http/1.1") {
			w.note("HTTP/2 only", hello.Conn.RemoteAddr().String())
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
	return config
}

// Listener returns ln with connections whose first Read is examined. It is for an http.Server; the
// connections that a ConnContext needs are Beneath those.
func (w Watch) Listener(ln net.Listener) net.Listener { return &firstListener{ln, w} }

type firstListener struct {
	net.Listener

	watch Watch
}

func (l *firstListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &firstConn{Conn: c, look: l.watch.look}, nil
}

type firstConn struct {
	net.Conn

	look func(first []byte, err error, remote string) // nil after the first Read
}

func (c *firstConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.look != nil {
		c.look(p[:n], err, c.RemoteAddr().String())
		c.look = nil
	}
	return n, err
}

// NetConn returns the TCP connection.
func (c *firstConn) NetConn() net.Conn {
	if beneath, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		return beneath.NetConn()
	}
	return c.Conn
}

// Beneath returns the connection that a Watch's Listener has wrapped as c, or c itself.
func Beneath(c net.Conn) net.Conn {
	if first, ok := c.(*firstConn); ok {
		return first.Conn
	}
	return c
}
