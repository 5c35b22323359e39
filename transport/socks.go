package transport

import (
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
)

// The schemes of SOCKS5 proxies, as curl has them.
const (
	schemeSOCKS     = "socks5"  // the server's name is resolved here
	schemeSOCKSName = "socks5h" // by the proxy
)

// errSOCKSAuth is to SOCKS what errProxyAuth is to HTTP.
var errSOCKSAuth = errors.New("SOCKS5 authentication failed")

func isSOCKS(u *url.URL) bool { return u.Scheme == schemeSOCKS || u.Scheme == schemeSOCKSName }

// fitSOCKS tells whether RFC 1929 has room for a user and a password.
func fitSOCKS(user, password string) bool {
	return user != "" && len(user) <= 255 && len(password) <= 255
}

// connectSOCKS goes through a SOCKS5 proxy (RFC 1928).
func (d *Dialer) connectSOCKS(ctx context.Context, via *url.URL) (net.Conn, error) {
	targets := []string{d.URL.Hostname()}
	if via.Scheme == schemeSOCKS {
		addrs, err := resolve(ctx, d.URL.Hostname())
		if err != nil {
			return nil, err
		}
		targets = texts(addrs)
	}
	var failed error
	for _, host := range targets {
		conn, err := d.reachProxy(ctx, via)
		if err != nil {
			return nil, err
		}
		target := net.JoinHostPort(host, port(d.URL))
		err = requestSOCKS(ctx, conn, via, target)
		if err == nil {
			return conn, nil
		}
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if errors.Is(err, errSOCKSAuth) {
			return nil, failProxy(via, err, adviseProxyAuth(via.Scheme))
		}
		if failed == nil {
			failed = failProxy(via, fmt.Errorf("SOCKS5 to %s: %w", target, err),
				"check the server's name and port, and whether the proxy allows them")
		}
	}
	return nil, failed
}

func texts(addrs []netip.Addr) []string {
	var all []string
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
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
	dialer, err := proxy.SOCKS5("tcp", net.JoinHostPort(via.Hostname(), port(via)), auth, existing{conn})
	if err != nil {
		return err
	}
	asker, ok := dialer.(proxy.ContextDialer)
	if !ok {
		return fmt.Errorf("%T asks without a context", dialer)
	}
	// What it returns wraps conn and does nothing to it, and what is above wants to have a socket.
	_, err = asker.DialContext(ctx, "tcp", target)
	return explainSOCKS(err)
}

// existing is the way to the proxy for a library that wants to make the connection itself.
type existing struct{ conn net.Conn }

func (e existing) Dial(string, string) (net.Conn, error) { return e.conn, nil }

func (e existing) DialContext(context.Context, string, string) (net.Conn, error) { return e.conn, nil }

// explainSOCKS says in fewer words what the library says; it has no error values to compare with.
func explainSOCKS(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	if err == nil {
		return nil
	}
	switch text := err.Error(); {
	case strings.Contains(text, "username/password"), strings.Contains(text, "authentication method"):
		return errSOCKSAuth
	case os.IsTimeout(err), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the proxy hung up")
	default:
		return errors.New(strings.TrimPrefix(text, "unknown error "))
	}
}
