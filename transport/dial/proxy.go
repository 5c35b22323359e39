package dial

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tunnel/transport"
	"tunnel/transport/diagnose"
)

// proxy returns the proxy for the server, nil for none.
func (d *Dialer) proxy() (*url.URL, error) {
	if d.Proxy == nil {
		return nil, nil
	}
	// A ProxyFunc takes the schemes of HTTP.
	u := *d.URL
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	proxy, err := d.Proxy(&u)
	if err != nil {
		return nil, &transport.StepError{Step: transport.StepProxy,
			Err: fmt.Errorf("which proxy: %w", err),
			Advice: "correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or set NO_PROXY=" +
				d.URL.Hostname()}
	}
	if proxy == nil {
		return nil, nil
	}
	if proxy, err = transport.ParseProxy(proxy.String()); err != nil {
		return nil, &transport.StepError{Step: transport.StepProxy,
			Err:    fmt.Errorf("the proxy's URL: %w", err),
			Advice: "correct it in the environment, or set NO_PROXY=" + d.URL.Hostname()}
	}
	return proxy, nil
}

// connectProxy returns a connection to the server through the proxy of via, and completes via.
func (d *Dialer) connectProxy(ctx context.Context, via *Path) (net.Conn, error) {
	if transport.IsSOCKS(via.proxy) {
		return d.connectSOCKS(ctx, via)
	}
	return d.connectHTTP(ctx, via)
}

// reachProxy returns a TCP connection to the proxy of via.
func (d *Dialer) reachProxy(ctx context.Context, via *Path) (net.Conn, error) {
	won, guess, err := d.connectTCP(ctx, via.proxy)
	if err != nil {
		return nil, &transport.StepError{Step: transport.StepProxy,
			Err: ofProxy(via.proxy, diagnose.Plain(err)), Reason: transport.ReasonProxy}
	}
	via.Guess = via.Guess || guess
	return won.conn, nil
}

// failProxy returns a StepError that names the proxy, without its password.
func failProxy(proxy *url.URL, err error, advice string) error {
	return &transport.StepError{Step: transport.StepProxy, Err: ofProxy(proxy, err), Advice: advice}
}

// ofProxy adds the name of the proxy to an error, without its password.
func ofProxy(proxy *url.URL, err error) error { return fmt.Errorf("proxy %s: %w", proxy.Host, err) }

// connectHTTP connects through an HTTP proxy with CONNECT (RFC 9110 section 9.3.6), also for ws:
// proxies that interpret the request do not forward an upgrade.
func (d *Dialer) connectHTTP(ctx context.Context, via *Path) (net.Conn, error) {
	proxy := via.proxy
	conn, err := d.reachProxy(ctx, via)
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		secured := tls.Client(conn, configTLS(d.ProxyTLS, transport.PeerHost(proxy)))
		if err := handshakeTLS(ctx, secured); err != nil {
			_ = conn.Close()
			err = via.Sent.Error(err)
			return nil,
				diagnose.TLS(&transport.StepError{Step: transport.StepProxy,
					Err: ofProxy(proxy, err)}, err)
		}
		if conn, err = newSplice(secured); err != nil {
			return nil, failProxy(proxy, err, "")
		}
	}
	tunnelled, err := requestConnect(ctx, conn, via, transport.PeerTarget(d.URL))
	if err != nil {
		_ = conn.Close()
		return nil, explainConnect(proxy, err)
	}
	return tunnelled, nil
}

// A connectError is a proxy's answer to CONNECT that is no success.
type connectError struct {
	target string
	status string   // "403 Forbidden"
	code   int      // 403
	offers []string // of a 407: the authentication schemes
}

func (e *connectError) Error() string { return "CONNECT " + e.target + ": " + e.status }

// errNotHTTP is the name of the protocol in which a proxy answers CONNECT, if that is not HTTP.
type errNotHTTP string

func (e errNotHTTP) Error() string { return "it answers CONNECT in " + string(e) + ", not in HTTP" }

// explainConnect returns the error, with advice, for a proxy that did not connect to the server.
func explainConnect(proxy *url.URL, err error) *transport.StepError {
	step := &transport.StepError{Step: transport.StepProxy, Err: ofProxy(proxy, err),
		Subject: proxy.Scheme}
	var answer *connectError
	refused := errors.As(err, &answer) && answer.code == http.StatusProxyAuthRequired
	switch {
	case refused && len(answer.offers) > 0 && !diagnose.HasScheme(answer.offers, "Basic"):
		step.Advice = "it takes " + strings.Join(answer.offers, ", ") +
			" only, and this program speaks Basic: go through a helper on this machine that " +
			"speaks it (cntlm, px)"
	case refused && proxy.User != nil:
		step.Reason = transport.ReasonProxyRefuses
	case refused:
		step.Reason = transport.ReasonProxyLogin
	default:
		step.Advice = adviseConnect(err)
	}
	return step
}

// adviseConnect returns what to do about a proxy that did not connect to the server, for other
// reasons than the user and password.
func adviseConnect(err error) string {
	var answer *connectError
	var protocol errNotHTTP
	switch {
	case errors.As(err, &protocol) && protocol == "TLS":
		return "it speaks TLS: give it as https://"
	case errors.As(err, &protocol) && strings.HasPrefix(string(protocol), "SOCKS"):
		return "give it as socks5://"
	case errors.As(err, &protocol):
		return "check the proxy's port"
	case !errors.As(err, &answer):
		return "check that an HTTP proxy is there (socks5:// is for SOCKS), and ask its " +
			"administrator to allow CONNECT to this host and port"
	}
	if answer.code >= 300 && answer.code < 400 ||
		answer.code == http.StatusNetworkAuthenticationRequired {
		return "this network, or the proxy, wants a login: open its page in a browser"
	}
	switch answer.code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "the proxy cannot reach the server: check the server's name and port, and that it " +
			"runs"
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusNotImplemented:
		return "that is a web server rather than a proxy: check the proxy's host and port, or ask " +
			"its administrator to allow CONNECT"
	}
	return "ask the administrator of the proxy to allow CONNECT to this host and port"
}

// requestConnect asks the proxy at the other end of conn for a connection to target.
func requestConnect(ctx context.Context, conn net.Conn, via *Path, target string) (net.Conn,
	error) {
	proxy := via.proxy
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target,
		Header: http.Header{}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(proxy.User.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+basic)
	}
	if err := req.Write(conn); err != nil {
		return nil, fmt.Errorf("send CONNECT: %w", err)
	}
	r := bufio.NewReader(diagnose.LimitAnswer(conn))
	_, _ = r.Peek(5) // fewer bytes are examined as well
	first, _ := r.Peek(min(r.Buffered(), diagnose.GreetingLen))
	if protocol := diagnose.Protocol(first); protocol != "" || len(first) > 1 && first[0] == 5 {
		return nil, fmt.Errorf("CONNECT %s: %w", target, errNotHTTP(cmp.Or(protocol, "SOCKS5")))
	}
	resp, err := http.ReadResponse(r, req)
	switch {
	case err != nil && diagnose.HungUp(err):
		return nil, errors.New("it hung up on CONNECT " + target)
	case err != nil:
		return nil, fmt.Errorf("wait for the answer to CONNECT: %w",
			via.Sent.Error(diagnose.Plain(err)))
	}
	_ = resp.Body.Close()
	via.Sent.Response(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, &connectError{target, diagnose.OneLine(resp.Status), resp.StatusCode,
			diagnose.Schemes(resp.Header.Values("Proxy-Authenticate"))}
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if r.Buffered() > 0 {
		// In TLS and in HTTP the client sends first.
		first, _ := r.Peek(min(r.Buffered(), diagnose.GreetingLen))
		if protocol := diagnose.Protocol(first); protocol != "" {
			return nil, fmt.Errorf("CONNECT %s: the server speaks %s: %s", target, protocol,
				diagnose.QuoteLine(via.Sent.Line(first)))
		}
		return nil, fmt.Errorf("CONNECT %s: bytes before any were asked for", target)
	}
	return conn, nil
}
