package ws_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// serveProxy is an HTTP proxy that knows CONNECT for one connection; requests gets the request.
func serveProxy(t *testing.T) (address string, requests <-chan *http.Request) {
	t.Helper()
	got := make(chan *http.Request, 1)
	return serveTCP(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		request, err := http.ReadRequest(in)
		if err != nil {
			t.Error(err)
			return
		}
		got <- request
		server, err := new(net.Dialer).DialContext(t.Context(), "tcp", request.Host)
		if err != nil {
			_, _ = fmt.Fprint(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		_, _ = fmt.Fprint(conn, "HTTP/1.0 200 Connection established\r\nProxy-agent: test\r\n\r\n")
		go func() {
			_, _ = io.Copy(server, in)
			_ = server.Close()
		}()
		_, _ = io.Copy(conn, server)
	}), got
}

func TestProxy(t *testing.T) {
	ca := newAuthority(t)
	for scheme, config := range map[string]*tls.Config{"ws": nil,
		"wss": ca.server(t, "127.0.0.1")} {
		t.Run(scheme, func(t *testing.T) {
			address := accepting(t, config, func(c *ws.Conn) {
				_, err := c.Requested(t.Context(), packet.Offload{})
				if err := errors.Join(err,
					c.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, granted(),
						packet.Offload{})); err != nil {
					t.Error(err)
				}
				r := run(t, c, long)
				<-r.ended
			})
			proxy, requests := serveProxy(t)
			d := dialer(t, scheme+"://"+address)
			d.TLS, d.Token = ca.client(), "0123456789abcdef"
			var asked *url.URL
			d.Proxy = func(u *url.URL) (*url.URL, error) {
				asked = u
				return url.Parse("http://user:pass%20word@" + proxy)
			}
			c, err := d.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
				t.Error(err)
			}
			c.Close(transport.CodeNormal, "done")
			if want := map[string]string{"ws": "http", "wss": "https"}[scheme] + "://" + address +
				"/ws"; asked.String() != want {
				t.Errorf("asked for the proxy of %s; want %s", asked, want)
			}
			r := <-requests
			user, password, _ := basic(r)
			if r.Method != http.MethodConnect || r.RequestURI != address || r.Host != address ||
				user != "user" ||
				password != "pass word" || r.Header.Get("Authorization") != "" {
				t.Errorf("the proxy got %s %s, host %s, %v", r.Method, r.RequestURI, r.Host,
					r.Header)
			}
		})
	}
}

// basic reads the credentials for a proxy.
func basic(r *http.Request) (user, password string, ok bool) {
	return (&http.Request{
		Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
}

// The default ports are named, since a proxy knows no ws.
func TestProxyDefaultPort(t *testing.T) {
	for address, want := range map[string]string{
		"ws://server.invalid/ws":  "server.invalid:80",
		"wss://server.invalid/ws": "server.invalid:443",
		"wss://[2001:db8::1]/ws":  "[2001:db8::1]:443",
	} {
		asked := make(chan string, 1)
		d := dialer(t, address)
		d.Proxy = through("http://" + serveTCP(t, func(conn net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				t.Error(err)
				return
			}
			asked <- r.RequestURI
			_, _ = fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
		}))
		if _, err := d.Dial(t.Context()); err == nil {
			t.Error("connected")
		}
		if got := <-asked; got != want {
			t.Errorf("CONNECT %s; want %s", got, want)
		}
		hops, err := d.Hops(t.Context())
		if err != nil || len(hops) != 1 || hops[0].Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("hops %v, %v: the proxy is the hop", hops, err)
		}
	}
}

func TestProxyFails(t *testing.T) {
	http1 := func(answer string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return strings.Replace(answering("HTTP/1.1 "+answer+"\r\n\r\n")(t), "ws://", "http://",
				1)
		}
	}
	other := newAuthority(t)
	for name, f := range map[string]dialFailure{
		"refused": {func(t *testing.T) string { t.Helper(); return "http://" + refusing(t) },
			transport.StepProxy, "connection refused", "proxy "},
		"no name": {func(*testing.T) string {
			return "http://" + strings.Repeat("x", 64) +
				".example:3128"
		}, transport.StepProxy, "resolve", "proxy "},
		"is a login page": {
			http1("302 Found\r\nLocation: http://login.example/"), transport.StepProxy,
			"CONNECT server.invalid:443: 302 Found", "wants a login: open its page",
		},
		"requires a login": {http1("511 Network Authentication Required"), transport.StepProxy,
			"511 Network Authentication", "wants a login: open its page"},
		"refuses CONNECT": {http1("403 Forbidden"), transport.StepProxy,
			"CONNECT server.invalid:443: 403 Forbidden", "allow CONNECT"},
		"server is gone": {http1("502 Bad Gateway"), transport.StepProxy, "502 Bad Gateway",
			"cannot reach the server"},
		"wants a password": {
			http1("407 Proxy Authentication Required\r\nProxy-Authenticate: Basic"),
			transport.StepProxy, "407 Proxy Authentication Required", "proxy-refuses http",
		},
		"a web server": {func(t *testing.T) string {
			t.Helper()
			return "http://" + serveHTTP(t, nil, http.NotFound)
		}, transport.StepProxy, "404 Not Found", "CONNECT"},
		"no HTTP": {http1("\r\n"), transport.StepProxy, "answer to CONNECT", "proxy"},
		"speaks first": {http1("200 OK\r\n\r\nhello"), transport.StepProxy, "bytes before",
			"proxy"},
		"hung up": {func(t *testing.T) string {
			t.Helper()
			return "http://" + serveTCP(t,
				func(net.Conn) {})
		}, transport.StepProxy, "CONNECT", "proxy"},
		"another scheme": {func(*testing.T) string { return "ftp://127.0.0.1:1080" },
			transport.StepProxy, "ftp is none of", "NO_PROXY=server.invalid"},
		"TLS that nobody knows": {func(t *testing.T) string {
			t.Helper()
			return "https://" + serveHTTP(t, other.server(t, "127.0.0.1"), http.NotFound)
		}, transport.StepProxy, "unknown authority", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, "wss://server.invalid")
			proxy := f.serve(t)
			d.Proxy = through(strings.Replace(proxy, "://", "://user:pa55w0rd@", 1))
			f.check(t, d)
		})
	}
	d := dialer(t, "wss://server.invalid")
	d.Proxy = func(*url.URL) (*url.URL, error) { return nil, errDevice }
	dialFailure{nil, transport.StepProxy, "the device is gone", "HTTPS_PROXY"}.check(t, d)
}
