package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"slices"

	"tunnel/transport"
)

// foreign tells the log what speaks another protocol than this server, which a proxy in front does
// that is set up wrongly: its own log and the client only say that there is no answer.
type foreign struct{ server *Server }

// note says that the other side of a connection speaks protocol.
func (f foreign) note(protocol, remote string) {
	f.server.Log.Warn("refused: something speaks "+protocol+" to this port: if it is a proxy in "+
		"front, set it to "+f.wanted(), "remote", remote)
}

// wanted returns what this server speaks.
func (f foreign) wanted() string {
	if f.server.TLS == nil {
		return "HTTP/1.1 without TLS"
	}
	return "HTTP/1.1 over TLS"
}

// listener returns ln as the server's http.Server needs it, with a look at how connections begin.
func (f foreign) listener(ln net.Listener) net.Listener {
	s := f.server
	return &firstListener{transport.Listener(ln, f.watchTLS(s.TLS), s.limiter.Handshake), f}
}

// look looks at what the first read of a connection has returned: a ClientHello (RFC 8446 section
// 5.1) to a port without TLS, or the preface of HTTP/2 (RFC 9113 section 3.4) inside TLS or without
// it.
func (f foreign) look(first []byte, err error, remote string) {
	var record tls.RecordHeaderError
	if errors.As(err, &record) {
		first = record.RecordHeader[:]
	}
	switch {
	case f.server.TLS == nil && len(first) > 1 && first[0] == 22 && first[1] == 3:
		f.note("TLS", remote)
	case bytes.HasPrefix(first, []byte("PRI ")):
		f.note("HTTP/2", remote)
	}
}

// watchTLS returns config with a look at the protocols that a client offers, and nil for nil.
func (f foreign) watchTLS(config *tls.Config) *tls.Config {
	if config == nil {
		return nil
	}
	config = config.Clone()
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		offers := hello.SupportedProtos
		if slices.Contains(offers, "h2") && !slices.Contains(offers, "http/1.1") {
			f.note("HTTP/2 only", hello.Conn.RemoteAddr().String())
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
	return config
}

// firstListener looks at the first Read of the connections that it accepts.
type firstListener struct {
	net.Listener

	foreign foreign
}

func (l *firstListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &firstConn{Conn: c, look: l.foreign.look}, nil
}

// firstConn is a connection for the http.Server alone: a session reads from the one beneath.
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
