package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nhooyr.io/websocket"
)

// DefaultPath is where a server answers when a URL names no path.
const DefaultPath = "/ws"

// tokenHeader carries the token where Authorization is for somebody else; as auth.TokenHeader.
const tokenHeader = "Tunnel-Authorization"

// Time that each step of a dial may take before it counts as failed.
const (
	connectTimeout   = 10 * time.Second // TCP, per address
	handshakeTimeout = 10 * time.Second // TLS; and again for HTTP
)

// Dialer makes connections to one server. Its fields are not changed once Dial was called.
type Dialer struct {
	URL        *url.URL                                        // from ParseURL
	Guess      bool                                            // the port is a guess: this is the same server as that of the Dialer before it, if any has it
	Token      string                                          // sent as Authorization: Bearer; may be empty
	Header     http.Header                                     // further headers of the request; may be nil
	TLS        *tls.Config                                     // for wss; nil means the system's roots
	Proxy      ProxyFunc                                       // which proxy leads to the server; nil means none
	Congestion string                                          // congestion control of the connection, as the kernel names it, or CongestionAuto; "" is the system's default
	Hop        netip.Addr                                      // the only address to connect to, of the server or the proxy; the zero Addr has the name resolved
	Known      map[string]netip.Addr                           // by host: the address to try when the name does not resolve, or not soon; from Conn.Known; may be nil
	Before     func(ctx context.Context, hop netip.Addr) error // runs before each TCP connection, to make its way, never twice at once; may be nil

	proxyTLS *tls.Config   // for proxies with https; nil means the system's roots, whatever TLS is
	resolver *net.Resolver // nil means the system's
}

// ProxyFunc tells which proxy to use for a URL with scheme http or https; nil for none.
type ProxyFunc func(*url.URL) (*url.URL, error)

// ErrTokenInURL says that a URL has a user or password.
var ErrTokenInURL = errors.New("a token in the URL would end up in logs")

// ParseURL reads the URL of a server: ws or wss, a host, perhaps a port and a path. Without a path it is DefaultPath. No
// error has the user, the password, the query or the fragment of the URL.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(escapeZone(s))
	if err != nil {
		return nil, unreadable(s, err)
	}
	shown := Readable(u)
	switch {
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("%q does not begin with ws:// or wss://", shown)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q names no host", shown)
	case u.User != nil:
		return nil, ErrTokenInURL
	case u.Fragment != "":
		return nil, fmt.Errorf("%q has a fragment (#…), which no server sees", shown)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q: port %s is not within 1 to 65535", shown, port)
		}
	}
	if checkHost(u.Hostname()) != nil {
		return nil, fmt.Errorf("%q names no host: it is not a name of DNS", shown)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = DefaultPath
	}
	return u, nil
}

// Dial goes from the name to a WebSocket, one step after the other; the error is a *StepError that names the step. The
// connection is in StateInit.
func (d *Dialer) Dial(ctx context.Context) (*Conn, error) {
	c, guess, err := d.dial(ctx)
	if err == nil || !guess || ctx.Err() != nil {
		return c, err
	}
	// An address of Known may belong to somebody else by now: what the name says today counts.
	again := *d
	again.Known = nil
	c, _, other := again.dial(ctx)
	var step *StepError
	if errors.As(other, &step) && step.Step == StepName {
		return nil, err
	}
	return c, other
}

// dial is one attempt; guess reports that it used an address of Known that the resolver did not confirm.
func (d *Dialer) dial(ctx context.Context) (c *Conn, guess bool, err error) {
	under, via, err := d.connect(ctx)
	if err != nil {
		return nil, via.guess, err
	}
	c, err = d.upgrade(ctx, under)
	if err != nil {
		_ = under.Close()
		return nil, via.guess, via.explain(err)
	}
	c.known = via.known
	return c, via.guess, nil
}

// A dialPath is what a connection leads through.
type dialPath struct {
	proxy *url.URL              // nil for none
	known map[string]netip.Addr // by host: the addresses of the proxy and, where this side resolves it, of the server
	guess bool                  // one of them is of Dialer.Known, and the resolver has not confirmed it
}

// errHungUp says that the other side ended the connection without an answer.
var errHungUp = errors.New("the server hung up on the request")

// explain says what the end of a connection before any answer means behind a proxy: that the proxy has ended it.
func (p dialPath) explain(err error) error {
	if p.proxy == nil || !errors.Is(err, errHungUp) && !hungUp(err) {
		return err
	}
	return failProxy(p.proxy, errors.New("it granted the connection to the server, and hung up"),
		"check the server's name and port, and that the proxy can reach it and lets TLS through")
}

// hungUp reports whether the other side has ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// connect returns a connection that carries HTTP to the server: through the proxy if there is one, inside TLS if the
// URL says so.
func (d *Dialer) connect(ctx context.Context) (*wire, dialPath, error) {
	proxy, err := d.proxy()
	if err != nil {
		return nil, dialPath{}, err
	}
	via := dialPath{proxy: proxy, known: map[string]netip.Addr{}}
	var conn net.Conn
	if proxy == nil {
		conn, via.guess, err = d.connectTCP(ctx, d.URL)
	} else {
		conn, err = d.connectProxy(ctx, &via)
	}
	if err != nil {
		return nil, via, err
	}
	via.known[cmp.Or(proxy, d.URL).Hostname()] = ipOf(conn.RemoteAddr())
	if d.URL.Scheme == "ws" {
		w, err := newWire(conn, nil)
		return w, via, err
	}
	secured, err := newWire(conn, func(c net.Conn) net.Conn { return tls.Client(c, configTLS(d.TLS, peerHost(d.URL))) })
	if err != nil {
		return nil, via, err
	}
	if err := handshakeTLS(ctx, secured.Conn); err != nil {
		_ = conn.Close()
		return nil, via, via.explain(explainTLS(&StepError{Step: StepTLS, Err: fmt.Errorf("TLS with %s: %w", d.URL.Host, err)}, err))
	}
	return secured, via, nil
}

// Hops returns the addresses that Dial would try to connect to first: the proxy's if there is one, else the server's.
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

// upgrade asks for the WebSocket on a connection to the server.
func (d *Dialer) upgrade(ctx context.Context, under *wire) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	hands := &handshake{wire: under, asked: make(chan struct{})}
	hands.client = &http.Transport{DialContext: hands.dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswer}
	client := &http.Client{
		Transport:     hands,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	// The TLS, where there is any, is in under already.
	u := *d.URL
	u.Scheme, u.Host = "ws", strings.TrimSuffix(net.JoinHostPort(peerHost(d.URL), d.URL.Port()), ":")
	header := d.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if d.Token != "" {
		name := "Authorization"
		if header.Get(name) != "" { // of a proxy in front
			name = tokenHeader
		}
		header.Set(name, "Bearer "+d.Token)
	}
	ws, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{
		HTTPClient:      client,
		HTTPHeader:      header,
		Host:            header.Get("Host"),
		Subprotocols:    []string{Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, d.refused(ctx, resp, hands.greeting(), err)
	}
	if ws.Subprotocol() != Subprotocol {
		_ = ws.CloseNow()
		return nil, &StepError{Step: StepHTTP, Err: fmt.Errorf("%s is a WebSocket server of another kind: it does not speak %s", Readable(d.URL), Subprotocol),
			Reason: ReasonURL, Advice: ", and that no proxy in front removes Sec-WebSocket-Protocol"}
	}
	early, err := hands.end(ws)
	if err != nil {
		return nil, &StepError{Step: StepHTTP, Err: fmt.Errorf("%s: %w", Readable(d.URL), err), Reason: ReasonURL}
	}
	return newConn(under, early, true, d.Congestion), nil
}

// port returns the port of u, or the scheme's default.
func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "wss" || u.Scheme == "https":
		return "443"
	case isSOCKS(u):
		return "1080"
	}
	return "80"
}

// configTLS returns config for a server of that name. HTTP/1.1 is asked for: a WebSocket over HTTP/2 (RFC 8441) would be
// another protocol.
func configTLS(config *tls.Config, name string) *tls.Config {
	config = hardened(config)
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
