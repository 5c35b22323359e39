// Package dial makes a connection that carries HTTP to a server: it resolves the name, tries its
// addresses in parallel (RFC 8305), connects through a proxy if there is one (HTTP CONNECT,
// SOCKS5), and makes the TLS handshake. Each failure is a *transport.StepError that names its step.
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
	"tunnel/transport/harden"
	"tunnel/transport/redact"
	"tunnel/transport/tcp"
)

// Time-outs of the steps of a dial.
const (
	connectTimeout   = 10 * time.Second // TCP, per address
	handshakeTimeout = 10 * time.Second // TLS; and again for HTTP
)

// Dialer makes connections to one server. Its fields must not be changed after the first Connect.
type Dialer struct {
	URL *url.URL // from ParseURL
	// for wss; nil means the system's roots
	TLS *tls.Config
	// returns the proxy for the server; nil means no proxy
	Proxy ProxyFunc
	// the only address to connect to, of the server or the proxy; the zero Addr means that the name
	// is resolved
	Hop netip.Addr
	// by host: the address to try when the name does not resolve, or is slow; from ws.Conn.Known;
	// may be nil
	Known map[string]netip.Addr
	// runs before each TCP connection, for example to add a route; not concurrently; may be nil
	Before func(ctx context.Context, hop netip.AddrPort) error
	// for proxies with https; nil means the system's roots, whatever TLS is
	ProxyTLS *tls.Config
	Resolver *net.Resolver // nil means the system's
	// Sent has what the request over a connection will show, and no text of the other side may: the
	// login at a proxy is added. See Path.Sent.
	Sent redact.Set
	// Mark is that of each connection, see Control; 0 is none. Resolver marks its own.
	Mark uint32
	// the maximum segment size of each connection in bytes, for both directions (TCP_MAXSEG in
	// tcp(7)); 0 is the system's
	MaxSegment int
}

// ProxyFunc returns the proxy for a URL with scheme http or https; nil for none.
type ProxyFunc func(*url.URL) (*url.URL, error)

// A Path describes how a connection was made.
type Path struct {
	Server *url.URL
	proxy  *url.URL // nil for none
	// by host: the addresses of the proxy and, where this side resolves it, of the server
	Known map[string]netip.Addr
	// an address of Dialer.Known was used that the resolver has not confirmed
	Guess bool
	// how long each step has taken. Without a proxy StepName ends when the address is tried that
	// answers; StepProxy has all that comes before the connection to the server
	Took *Times
	// what this side shows on the way, and what comes back must not show
	Sent redact.Set
}

// Proxy returns the proxy for a person to read; "" for none.
func (p Path) Proxy() string {
	if p.proxy == nil {
		return ""
	}
	return transport.Readable(p.proxy)
}

// Explain returns err, or a better error if a proxy has closed the connection before any answer.
func (p Path) Explain(err error) error {
	if p.proxy == nil || !errors.Is(err, diagnose.ErrNoAnswer) && !diagnose.HungUp(err) {
		return err
	}
	return failProxy(p.proxy, errors.New("it granted the connection to the server, and hung up"),
		"check the server's name and port, and that the proxy can reach it and lets TLS through")
}

// Connect returns a connection that carries HTTP to the server: through the proxy if there is one,
// inside TLS for wss.
func (d *Dialer) Connect(ctx context.Context) (*tcp.Conn, Path, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, Path{}, err
	}
	via := Path{Server: d.URL, proxy: proxy, Known: map[string]netip.Addr{}, Took: &Times{},
		Sent: d.Sent}
	if proxy != nil {
		via.Sent = via.Sent.AndLogin(proxy.User)
	}
	began := time.Now()
	var conn net.Conn
	if proxy == nil {
		var won attempt
		if won, via.Guess, err = d.connectTCP(ctx, d.URL); err == nil {
			conn = won.conn
			via.Took.add(transport.StepName, won.began.Sub(began))
			via.Took.add(transport.StepTCP, time.Since(won.began))
		}
	} else {
		conn, err = d.connectProxy(ctx, &via)
		via.Took.add(transport.StepProxy, time.Since(began))
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
	end := via.Took.Begin(transport.StepTLS)
	err = handshakeTLS(ctx, secured.Conn)
	if end(); err != nil {
		_ = conn.Close()
		err = via.Sent.Error(err)
		return nil, via,
			via.Explain(diagnose.TLS(&transport.StepError{Step: transport.StepTLS,
				Err: fmt.Errorf("TLS with %s: %w", d.URL.Host, err)}, err))
	}
	return secured, via, nil
}

// Hops returns the addresses and ports that Connect would try first: the proxy's if there is one,
// else the server's.
func (d *Dialer) Hops(ctx context.Context) (all []netip.AddrPort, err error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx) // ends the lookup
	defer cancel()
	to := cmp.Or(proxy, d.URL)
	a, ok := <-d.search(ctx, to.Hostname())
	if !ok { // ctx has ended
		return nil, context.Cause(ctx)
	}
	for _, addr := range a.addrs {
		all = append(all, netip.AddrPortFrom(addr, number(transport.Port(to))))
	}
	return all, a.err
}

// configTLS returns config for a server of that name. It offers HTTP/1.1 only: a WebSocket over
// HTTP/2 (RFC 8441) would be another protocol.
func configTLS(config *tls.Config, name string) *tls.Config {
	config = harden.TLS(config)
	config.ServerName = name
	config.NextProtos = []string{"http/1.1"}
	return config
}

// handshakeTLS makes the handshake on conn, a *tls.Conn.
func handshakeTLS(ctx context.Context, conn net.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	return conn.(*tls.Conn).HandshakeContext(ctx) //nolint:forcetypeassert // see above
}
