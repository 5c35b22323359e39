package tcp

import (
	"crypto/tls"
	"net"
)

// Gate is called when a ClientHello has arrived, before the server agrees on keys and signs, which
// are the expensive part of a handshake. It may wait. An error aborts the connection. end is called
// when that part is over, on the same goroutine.
type Gate func(remote net.Addr) (end func(), err error)

// gated returns a server's configuration whose handshakes go through gate.
func gated(config *tls.Config, gate Gate) *tls.Config {
	if gate == nil {
		return config
	}
	config = config.Clone()
	choose := config.GetConfigForClient
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		end, err := gate(hello.Conn.RemoteAddr())
		if err != nil {
			abort(hello.Conn)
			return nil, err
		}
		if s, ok := hello.Conn.(*segments); ok {
			s.written = end
		} else {
			end()
		}
		if choose == nil {
			return nil, nil
		}
		return choose(hello)
	}
	return config
}

// abort closes a connection with a reset, so that crypto/tls sends no alert.
func abort(c net.Conn) {
	if s, ok := c.(*segments); ok {
		c = s.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
