package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// proxy returns the proxy that leads to the server, nil for none.
func (d *Dialer) proxy() (*url.URL, error) {
	if d.Proxy == nil {
		return nil, nil
	}
	// The functions at hand know the schemes of HTTP.
	u := *d.URL
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	proxy, err := d.Proxy(&u)
	if err != nil {
		return nil, &StepError{StepProxy, fmt.Errorf("which proxy: %w", err), "check HTTPS_PROXY and HTTP_PROXY"}
	}
	if proxy != nil && proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, &StepError{StepProxy, fmt.Errorf("proxy %s: scheme %s is not supported", proxy.Redacted(), proxy.Scheme),
			"use an http:// or https:// proxy, or set NO_PROXY=" + d.URL.Hostname()}
	}
	return proxy, nil
}

// connectProxy returns a connection to the server through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), for ws as
// for wss, because proxies forward an upgrade only when they do not look inside.
func (d *Dialer) connectProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	fail := func(err error, advice string) error {
		return &StepError{StepProxy, fmt.Errorf("proxy %s: %w", proxy.Host, err), advice}
	}
	conn, err := d.connectTCP(ctx, proxy)
	if err != nil {
		return nil, fail(plain(err), "check HTTPS_PROXY, or set NO_PROXY="+d.URL.Hostname())
	}
	if proxy.Scheme == "https" {
		secured := tls.Client(conn, configTLS(nil, proxy.Hostname()))
		if err := handshakeTLS(ctx, secured); err != nil {
			_ = conn.Close()
			return nil, fail(err, adviseTLS(err))
		}
		conn = secured
	}
	tunnelled, err := requestConnect(ctx, conn, proxy, net.JoinHostPort(d.URL.Hostname(), port(d.URL)))
	if err != nil {
		_ = conn.Close()
		if errors.Is(err, errProxyAuth) {
			return nil, fail(err, adviseProxyAuth)
		}
		return nil, fail(err, "ask whoever runs the proxy to allow CONNECT to this host and port")
	}
	return tunnelled, nil
}

// errProxyAuth says that the proxy wants another user and password than it got.
var errProxyAuth = errors.New("407 Proxy Authentication Required")

// requestConnect asks the proxy at the other end of conn for a connection to target.
func requestConnect(ctx context.Context, conn net.Conn, proxy *url.URL, target string) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("send CONNECT: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("wait for the answer to CONNECT: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusProxyAuthRequired {
		return nil, fmt.Errorf("CONNECT %s: %w", target, errProxyAuth)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("CONNECT %s: %s", target, resp.Status)
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if r.Buffered() > 0 {
		// A server speaks after the client in TLS and in HTTP alike.
		return nil, fmt.Errorf("CONNECT %s: bytes before any were asked for", target)
	}
	return conn, nil
}
