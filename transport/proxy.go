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
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseProxy reads the URL of a proxy: http, https, socks5 or socks5h (which lets the proxy resolve the server's name), a
// host, perhaps a port, and perhaps a user and a password. Without a scheme it is http. No error has the password.
func ParseProxy(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	switch {
	case err != nil: // the error would have the text, and the text a password
		return nil, errors.New("it is not a URL; what is special in a user or password is written as %XX")
	case !slices.Contains([]string{"http", "https", schemeSOCKS, schemeSOCKSName}, u.Scheme):
		return nil, fmt.Errorf("scheme %s is none of http, https, socks5, socks5h", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("it names no host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("there is more behind the port than a proxy's URL has; a user or password with / or # is written with %%2F or %%23")
	}
	if n, err := strconv.ParseUint(port(u), 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("port %s is not within 1 to 65535", port(u))
	}
	if password, _ := u.User.Password(); isSOCKS(u) && u.User != nil && !fitSOCKS(u.User.Username(), password) {
		return nil, errors.New("SOCKS takes a user and a password of 1 to 255 bytes each")
	}
	return u, nil
}

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
	if proxy == nil {
		return nil, nil
	}
	if proxy, err = ParseProxy(proxy.String()); err != nil {
		return nil, &StepError{StepProxy, fmt.Errorf("the proxy's URL: %w", err),
			"correct it in the environment, or set NO_PROXY=" + d.URL.Hostname()}
	}
	return proxy, nil
}

// connectProxy returns a connection to the server through a proxy.
func (d *Dialer) connectProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	if isSOCKS(proxy) {
		return d.connectSOCKS(ctx, proxy)
	}
	return d.connectHTTP(ctx, proxy)
}

// reachProxy returns a TCP connection to the proxy.
func (d *Dialer) reachProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	conn, err := d.connectTCP(ctx, proxy)
	if err != nil {
		return nil, failProxy(proxy, plain(err), "check --proxy or HTTPS_PROXY, or go without by --proxy none")
	}
	return conn, nil
}

// failProxy says which proxy it is that something is wrong with, without its password.
func failProxy(proxy *url.URL, err error, advice string) error {
	return &StepError{StepProxy, fmt.Errorf("proxy %s: %w", proxy.Host, err), advice}
}

// connectHTTP goes through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), for ws as for wss, because proxies forward an
// upgrade only when they do not look inside.
func (d *Dialer) connectHTTP(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	conn, err := d.reachProxy(ctx, proxy)
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		secured := tls.Client(conn, configTLS(d.proxyTLS, proxy.Hostname()))
		if err := handshakeTLS(ctx, secured); err != nil {
			_ = conn.Close()
			return nil, failProxy(proxy, err, adviseTLS(err))
		}
		if conn, err = newSplice(secured); err != nil {
			return nil, failProxy(proxy, err, "")
		}
	}
	tunnelled, err := requestConnect(ctx, conn, proxy, net.JoinHostPort(d.URL.Hostname(), port(d.URL)))
	if err != nil {
		_ = conn.Close()
		if errors.Is(err, errProxyAuth) {
			return nil, failProxy(proxy, err, adviseProxyAuth(proxy.Scheme))
		}
		return nil, failProxy(proxy, err, "ask whoever runs the proxy to allow CONNECT to this host and port")
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
