package dial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"

	"golang.org/x/net/proxy"

	"tunnel/transport"
)

// errSOCKSAuth is returned when the proxy wants a login, or refuses the one that it was given.
var errSOCKSAuth = errors.New("SOCKS5 authentication failed")

// connectSOCKS connects through a SOCKS5 proxy (RFC 1928).
func (d *Dialer) connectSOCKS(ctx context.Context, via *Path) (net.Conn, error) {
	if via.proxy.Scheme == transport.SchemeSOCKS5Name {
		return d.askSOCKS(ctx, via, transport.PeerHost(d.URL))
	}
	here := *d
	here.Hop = netip.Addr{} // of the proxy
	searching, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	for a := range here.search(searching, d.URL.Hostname()) {
		failed = cmp.Or(failed, a.err)
		for _, addr := range a.addrs {
			conn, err := d.askSOCKS(ctx, via, addr.String())
			if err == nil {
				via.Guess = via.Guess || a.known
				via.Known[d.URL.Hostname()] = addr
				return conn, nil
			}
			var refusal *socksError
			if !errors.As(err, &refusal) { // the proxy itself failed
				return nil, err
			}
			failed = cmp.Or(failed, err)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, failed
}

// A socksError is the error of a proxy that did not reach the target.
type socksError struct {
	target string
	err    error
}

func (e *socksError) Error() string { return "SOCKS5 to " + e.target + ": " + e.err.Error() }

func (e *socksError) Unwrap() error { return e.err }

// askSOCKS returns a connection to host, a name or address of the server, through the proxy of via.
// The error wraps a socksError if another address may work.
func (d *Dialer) askSOCKS(ctx context.Context, via *Path, host string) (net.Conn, error) {
	conn, err := d.reachProxy(ctx, via)
	if err != nil {
		return nil, err
	}
	target := net.JoinHostPort(host, transport.Port(d.URL))
	err = requestSOCKS(ctx, conn, via.proxy, target)
	if err == nil {
		return conn, nil
	}
	_ = conn.Close()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errSOCKSAuth):
		return nil, &transport.StepError{Step: transport.StepProxy, Err: ofProxy(via.proxy, err),
			Reason: transport.ReasonProxyLogin, Subject: via.proxy.Scheme}
	}
	return nil, failProxy(via.proxy, &socksError{target, err},
		"check the server's name and port, and whether the proxy allows them")
}

// requestSOCKS asks the proxy at the other end of conn for a connection to target.
func requestSOCKS(ctx context.Context, conn net.Conn, via *url.URL, target string) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var auth *proxy.Auth
	if via.User != nil {
		password, _ := via.User.Password()
		auth = &proxy.Auth{User: via.User.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", transport.PeerTarget(via), auth, existing{conn})
	if err != nil {
		return err
	}
	asker, ok := dialer.(proxy.ContextDialer)
	if !ok {
		return fmt.Errorf("%T asks without a context", dialer)
	}
	// The returned connection only wraps conn. The caller needs conn, because that is a socket.
	_, err = asker.DialContext(ctx, "tcp", target)
	return explainSOCKS(err)
}

// existing is a dialer that returns a connection which exists already, for package proxy.
type existing struct{ conn net.Conn }

func (e existing) Dial(string, string) (net.Conn, error) { return e.conn, nil }

func (e existing) DialContext(context.Context, string, string) (net.Conn, error) {
	return e.conn,
		nil
}

// explainSOCKS shortens the errors of package proxy, which has no error values to compare with.
func explainSOCKS(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err == nil {
		return nil
	}
	switch text := err.Error(); {
	case strings.Contains(text, "username/password"),
		strings.Contains(text, "authentication method"):
		return errSOCKSAuth
	case os.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the proxy hung up")
	default:
		return errors.New(strings.TrimPrefix(text, "unknown error "))
	}
}
