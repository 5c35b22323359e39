package ws_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/ws"
	"tunnel/tun/tuntest"
)

// serveSOCKS is a SOCKS5 proxy (RFC 1928, RFC 1929) for one connection by user and pa55w0rd; asked
// gets the address type and the address.
func serveSOCKS(t *testing.T, target string) (address string, asked <-chan string) {
	t.Helper()
	got := make(chan string, 1)
	return serveTCP(t, func(conn net.Conn) {
		read := func(n int) []byte {
			p := make([]byte, n)
			if _, err := io.ReadFull(conn, p); err != nil {
				t.Error(err)
			}
			return p
		}
		read(int(read(2)[1]))
		_, _ = conn.Write([]byte{5, 2})
		user := read(int(read(2)[1]))
		password := read(int(read(1)[0]))
		if string(user) != "user" || string(password) != "pa55w0rd" {
			_, _ = conn.Write([]byte{1, 1})
			return
		}
		_, _ = conn.Write([]byte{1, 0})
		kind := read(4)[3]
		n := 4
		if kind == 3 {
			n = int(read(1)[0])
		}
		host := read(n)
		read(2)
		if kind == 1 {
			host = []byte(net.IP(host).String())
		}
		got <- fmt.Sprint(kind, " ", string(host))
		server, err := new(net.Dialer).DialContext(t.Context(), "tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		go func() {
			_, _ = io.Copy(server, conn)
			_ = server.Close()
		}()
		_, _ = io.Copy(conn, server)
	}), got
}

// With socks5 the name is resolved here, with socks5h by the proxy; what passes is a connection
// like any other.
func TestSOCKS(t *testing.T) {
	ca := newAuthority(t)
	for scheme, want := range map[string]string{"socks5": "1 127.0.0.1", "socks5h": "3 localhost"} {
		t.Run(scheme, func(t *testing.T) {
			address := accepting(t, ca.server(t, "localhost"), grant(t))
			_, port, _ := net.SplitHostPort(address)
			proxy, asked := serveSOCKS(t, address)
			d := dialer(t, "wss://localhost:"+port)
			d.TLS, d.Proxy = ca.client(), through(scheme+"://user:pa55w0rd@"+proxy)
			exchange(t, d)
			if got := <-asked; got != want &&
				!(scheme == "socks5" && strings.HasPrefix(got, "4 ")) {
				t.Errorf("asked for %s; want %s", got, want)
			}
		})
	}
}

// A proxy that is reached by TLS, with and without TLS inside.
func TestProxyTLS(t *testing.T) {
	inner := newAuthority(t)
	for _, scheme := range []string{"ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			config := inner.server(t, "127.0.0.1")
			if scheme == "ws" {
				config = nil
			}
			address := accepting(t, config, grant(t))
			outer := newAuthority(t)
			proxy := serveHTTP(t, outer.server(t, "127.0.0.1"),
				func(w http.ResponseWriter, r *http.Request) {
					server, err := new(net.Dialer).DialContext(r.Context(), "tcp", r.Host)
					if err != nil {
						t.Error(err)
						return
					}
					conn, in, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
					done := make(chan struct{})
					go func() {
						defer close(done)
						_, _ = io.Copy(server, in)
						_ = server.Close()
					}()
					_, _ = io.Copy(conn, server)
					_ = conn.Close()
					<-done
				})
			d := dialer(t, scheme+"://"+address)
			d.TLS, d.Proxy = inner.client(), through("https://"+proxy)
			d.ProxyTLS = outer.client()
			exchange(t, d)
		})
	}
}

// grant is a server that gives a session and returns what packets come.
func grant(t *testing.T) func(*ws.Conn) {
	t.Helper()
	return func(c *ws.Conn) {
		_, err := c.Requested(t.Context(), packet.Offload{})
		if err := errors.Join(err, c.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}},
			granted(), packet.Offload{})); err != nil {
			t.Error(err)
			return
		}
		var b packet.Batch
		for {
			if err := c.ReadBatch(&b); err != nil {
				return
			}
			var back packet.Batch
			for _, p := range tuntest.PacketsOf(&b) {
				back.Add(tuntest.WithHeader(p))
			}
			if err := c.WriteBatch(&back); err != nil {
				t.Error(err)
			}
		}
	}
}

// exchange dials, sends packets there and back, and closes.
func exchange(t *testing.T, d *ws.Dialer) {
	t.Helper()
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(transport.CodeNormal, "done")
	if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
		t.Fatal(err)
	}
	if !c.Hop().IsLoopback() || !c.Local().IsLoopback() {
		t.Errorf("from %s to %s", c.Local(), c.Hop())
	}
	var out, in packet.Batch
	out.Add(tuntest.WithHeader(ipPacket(1, 1, 60000)))
	if err := errors.Join(c.WriteBatch(&out), c.ReadBatch(&in)); err != nil {
		t.Fatal(err)
	}
	if in.Len() == 0 || len(in.IP(0)) != 60000 {
		t.Errorf("%d packets came back", in.Len())
	}
}

// The errors for a SOCKS proxy that refuses, and for a server that is none.
func TestSOCKSFails(t *testing.T) {
	says := func(answers ...string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return "socks5h://user:pa55w0rd@" + serveTCP(t, func(conn net.Conn) {
				for _, answer := range answers {
					_, _ = conn.Read(make([]byte, 1000))
					_, _ = conn.Write([]byte(answer))
				}
			})
		}
	}
	for name, f := range map[string]dialFailure{
		"refused": {func(t *testing.T) string {
			t.Helper()
			return "socks5h://" +
				refusing(t)
		}, transport.StepProxy, "connection refused", "proxy "},
		"no name": {func(t *testing.T) string {
			t.Helper()
			return "socks5://" +
				refusing(t)
		}, transport.StepName, "resolve server.invalid", "DNS"},
		"a wrong password": {says("\x05\x02", "\x01\x01"), transport.StepProxy,
			"SOCKS5 authentication failed", "proxy-login socks5h"},
		"another method": {says("\x05\xff"), transport.StepProxy,
			"SOCKS5 authentication failed", "proxy-login socks5h"},
		"refuses the server": {says("\x05\x00", "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
			transport.StepProxy, "SOCKS5 to server.invalid:443: connection not allowed by ruleset",
			"allows"},
		"the server is gone": {says("\x05\x00", "\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"),
			transport.StepProxy, "host unreachable", "server's name"},
		"hangs up": {says(), transport.StepProxy, "hung up", "proxy"},
		"an HTTP proxy": {says("HTTP/1.1 400 Bad Request\r\n\r\n"), transport.StepProxy,
			"unexpected protocol version", "proxy"},
		"a user that is empty": {func(*testing.T) string { return "socks5://:pa55w0rd@127.0.0.1" },
			transport.StepProxy, "1 to 255 bytes", "NO_PROXY"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, "wss://server.invalid")
			u, err := url.Parse(f.serve(t))
			if err != nil {
				t.Fatal(err)
			}
			d.Proxy = func(*url.URL) (*url.URL, error) { return u, nil }
			f.check(t, d)
		})
	}
}
