// Package dial goes from the name of a server to a connection that carries HTTP: it resolves the
// name, tries its addresses side by side (RFC 8305), goes through a proxy if there is one (HTTP
// CONNECT, SOCKS5), and shakes hands for TLS. Each failure is a *transport.StepError that names its
// step.
package dial

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"tunnel/transport"
	"tunnel/transport/diagnose"
	"tunnel/transport/tcp"
)

// Time that each step of a dial may take before it counts as failed.
const (
	connectTimeout   = 10 * time.Second // TCP, per address
	handshakeTimeout = 10 * time.Second // TLS; and again for HTTP
)

// Dialer makes connections to one server. Its fields are not changed once Connect was called.
type Dialer struct {
	URL *url.URL // from ParseURL
	// for wss; nil means the system's roots
	TLS *tls.Config
	// which proxy leads to the server; nil means none
	Proxy ProxyFunc
	// the only address to connect to, of the server or the proxy; the zero Addr has the name
	// resolved
	Hop netip.Addr
	// by host: the address to try when the name does not resolve, or not soon; from Conn.Known; may
	// be nil
	Known map[string]netip.Addr
	// runs before each TCP connection, to make its way, never twice at once; may be nil
	Before func(ctx context.Context, hop netip.Addr) error
	// for proxies with https; nil means the system's roots, whatever TLS is
	ProxyTLS *tls.Config
	Resolver *net.Resolver // nil means the system's
}

// ProxyFunc tells which proxy to use for a URL with scheme http or https; nil for none.
type ProxyFunc func(*url.URL) (*url.URL, error)

// A Path is what a connection leads through.
type Path struct {
	proxy *url.URL // nil for none
	// by host: the addresses of the proxy and, where this side resolves it, of the server
	Known map[string]netip.Addr
	// one of them is of Dialer.Known, and the resolver has not confirmed it
	Guess bool
}

// Explain says what the end of a connection before any answer means behind a proxy: that the proxy
// has ended it.
func (p Path) Explain(err error) error {
	if p.proxy == nil || !errors.Is(err, diagnose.ErrNoAnswer) && !diagnose.HungUp(err) {
		return err
	}
	return failProxy(p.proxy, errors.New("it granted the connection to the server, and hung up"),
		"check the server's name and port, and that the proxy can reach it and lets TLS through")
}

// Connect returns a connection that carries HTTP to the server: through the proxy if there is one,
// inside TLS if the URL says so.
func (d *Dialer) Connect(ctx context.Context) (*tcp.Conn, Path, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, Path{}, err
	}
	via := Path{proxy: proxy, Known: map[string]netip.Addr{}}
	var conn net.Conn
	if proxy == nil {
		conn, via.Guess, err = d.connectTCP(ctx, d.URL)
	} else {
		conn, err = d.connectProxy(ctx, &via)
	}
	if err != nil {
		return nil, via, err
	}
	via.Known[cmp.Or(proxy, d.URL).Hostname()] = tcp.IPOf(conn.RemoteAddr())
	if d.URL.Scheme == "ws" {
		w, err := tcp.New(conn, nil)
		return w, via, err
	}
	secured, err := tcp.New(conn,
		func(c net.Conn) net.Conn {
			return tls.Client(c,
				configTLS(d.TLS, transport.PeerHost(d.URL)))
		})
	if err != nil {
		return nil, via, err
	}
	if err := handshakeTLS(ctx, secured.Conn); err != nil {
		_ = conn.Close()
		return nil, via,
			via.Explain(diagnose.TLS(&transport.StepError{Step: transport.StepTLS,
				Err: fmt.Errorf("TLS with %s: %w", d.URL.Host, err)}, err))
	}
	return secured, via, nil
}

// Hops returns the addresses that Dial would try to connect to first: the proxy's if there is one,
// else the server's.
func (d *Dialer) Hops(ctx context.Context) ([]netip.Addr, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the lookup
	defer cancel()
	a, ok := <-d.search(ctx, cmp.Or(proxy, d.URL).Hostname())
	if !ok { // ctx has ended
		return nil, context.Cause(ctx)
	}
	return a.addrs, a.err
}

// configTLS returns config for a server of that name. HTTP/1.1 is asked for: a WebSocket over
// HTTP/2 (RFC 8441) would be another protocol.
func configTLS(config *tls.Config, name string) *tls.Config {
	config = tcp.Harden(config)
	config.ServerName = name
	config.NextProtos = []string{"http/1.1"}
	return config
}

// handshakeTLS makes the handshake on what tls.Client has returned.
func handshakeTLS(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return conn.(*tls.Conn).HandshakeContext(ctx) //nolint:forcetypeassert // see above
}
