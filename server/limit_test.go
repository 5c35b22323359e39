package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// A client that comes through a proxy counts where it comes from.
func TestPerAddressBehindProxy(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		behindProxy(c)
		c.MaxPerAddress = 2
	})
	var open []net.Conn
	for i, want := range []string{"101", "101", "429"} {
		conn := h.open()
		open = append(open, conn)
		send(t, conn, right+forwarded("192.0.2.1")+"\n")
		if line := firstLine(conn); !strings.HasPrefix(line, "HTTP/1.1 "+want) {
			t.Errorf("connection %d: %q; want %s", i, line, want)
		}
	}
	if code := h.status(right + forwarded("192.0.2.2")); code != 101 {
		t.Errorf("the neighbour: answered %d", code)
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	for until := time.Now().Add(patience); h.status(
		right+forwarded("192.0.2.1")) != 101; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the places are not free again")
		}
	}
}

// However many unauthenticated connections sit there, a client comes in; and it stays once it has
// logged in.
func TestUnauthenticatedMakeRoom(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Unauthenticated(8)
	})
	first := h.join(transport.Connect{})
	for range 60 { // without a wait between, and nobody waits for them
		conn := h.open()
		t.Cleanup(func() { _ = conn.Close() })
	}
	last := h.join(transport.Connect{})
	for _, m := range []*member{first, last} {
		m.sends(tuntest.Packet(m.own(), "10.1.1.1", 1))
		h.Device.Gets(t)
	}
	if n := h.refusals()["evicted"]; n < 50 {
		t.Errorf("%d unauthenticated connections had to go", n)
	}
}

// The most connections in all: the next is closed without a word, and none of those that are there.
func TestMaxConnections(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxConnections = 2 })
	a := h.join(transport.Connect{})
	b := h.join(transport.Connect{})
	// else it was reset already
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Address); err == nil {
		if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("one too many got %d bytes, %v", n, err)
		}
		_ = conn.Close()
	}
	for _, m := range []*member{a, b} {
		m.sends(tuntest.Packet(m.own(), "10.1.1.1", 1))
		h.Device.Gets(t)
	}
	a.leave()
	h.joinOnceThereIsRoom()
	if n := h.refusals()["connections"]; n < 1 {
		t.Errorf("%d refused", n)
	}
}

// Nobody holds a connection open without a session: not without a word, not byte by byte, not with
// a body that never ends.
func TestUnauthenticatedTimeOut(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	certificate := web.TLS.Certificates[0]
	web.Close()
	secure := func(c *server.Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate},
			MinVersion: tls.VersionTLS12}
	}
	plain := func(*server.Config) {}
	const header = "GET /ws HTTP/1.1\n" + upgrade
	for name, test := range map[string]struct {
		tls   func(*server.Config)
		first string // at once
		drip  string // then one byte after the other, again and again
	}{
		"no TLS handshake":          {secure, "", ""},
		"half a TLS record":         {secure, "\x16\x03\x01", ""},
		"TLS byte by byte":          {secure, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", "\x00"},
		"nothing":                   {plain, "", ""},
		"half a header":             {plain, header, ""},
		"header byte by byte":       {plain, header, "X-Y: z\r\n"},
		"the first line, on and on": {plain, "GET /", "x"},
		"after an answer":           {plain, "GET / HTTP/1.1\nHost: h\n\n", ""},
		"after an answer, on and on": {plain, "GET / HTTP/1.1\nHost: h\n\n",
			"GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		"a body that never comes": {plain, "POST /ws HTTP/1.1\nHost: h\nContent-Length: 1000\n\n", ""},
		"a body byte by byte": {plain, "POST /ws HTTP/1.1\nHost: h\nContent-Length: 100000\n\n",
			"x"},
		"a body in chunks": {plain,
			"POST /ws HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n", "1\r\nx\r\n"},
		"a body to wait for": {plain,
			"POST /ws HTTP/1.1\nHost: h\nContent-Length: 1000\nExpect: 100-continue\n\n", "x"},
		"no connect":           {plain, right + "\n", ""},
		"connect byte by byte": {plain, right + "\n\x81\xfe\x10\x00\x00\x00\x00\x00", " "},
		"pings, no connect":    {plain, right + "\n", "\x89\x80\x00\x00\x00\x00"},
		"fragments, no connect": {plain, right + "\n\x01\x80\x00\x00\x00\x00",
			"\x00\x80\x00\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := serve(t, "10.1.1.0/24", func(c *server.Config) {
				c.Hasten(300*time.Millisecond, time.Minute)
				test.tls(c)
			})
			conn := h.open()
			defer func() { _ = conn.Close() }()
			head, tail, _ := strings.Cut(test.first, "\n\n")
			if first := strings.ReplaceAll(head, "\n", "\r\n"); strings.Contains(test.first,
				"\n\n") {
				send(t, conn, first+"\r\n\r\n"+tail)
			} else {
				send(t, conn, first)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, conn)
			}()
			for i, until := 0, time.Now().Add(patience); ; i++ {
				select {
				case <-ended:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if time.Now().After(until) {
					t.Fatalf("still open; log:\n%s", h.Log.Text())
				}
				if test.drip != "" {
					_, _ = io.WriteString(conn, test.drip[i%len(test.drip):][:1])
				}
			}
		})
	}
}

// What is not for us is answered in the same words whatever it is, and they say nothing of us.
func TestNotFoundSaysNothing(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	seen := map[string]string{}
	for name, request := range map[string]string{
		"another path":    "GET / HTTP/1.1\nHost: h\n",
		"the path, no WS": "GET /ws HTTP/1.1\nHost: h\n",
		"with a token":    "GET /ws HTTP/1.1\nHost: h\n" + bearer,
		"no subprotocol": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade,
			"Sec-WebSocket-Protocol: tunnel.v1\n", "", 1) + bearer,
		"another subprotocol": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade, "tunnel.v1",
			"chat, tunnel.v2", 1) + bearer,
		"another upgrade": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade, "websocket", "h2c",
			1) + bearer,
		"HTTP/1.0": "GET /ws HTTP/1.0\n" + upgrade + bearer,
		"another version": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade, ": 13", ": 12", 1) +
			bearer,
		"no version": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade,
			"Sec-WebSocket-Version: 13\n", "", 1),
		"no key": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade,
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\n", "", 1) + bearer,
		"a short key": "GET /ws HTTP/1.1\n" + strings.Replace(upgrade,
			"MDEyMzQ1Njc4OWFiY2RlZg==", "MDEy", 1) + bearer,
		"two keys": "GET /ws HTTP/1.1\n" + upgrade +
			"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\n" + bearer,
		"another origin": "GET /ws HTTP/1.1\n" + upgrade + bearer +
			"Origin: https://evil.example\n",
		"POST": "POST /ws HTTP/1.1\n" + upgrade + bearer + "Content-Length: 0\n",
		"a body": "GET /ws HTTP/1.1\n" + upgrade + bearer +
			"Content-Length: 5\n\nhello",
		"OPTIONS":           "OPTIONS * HTTP/1.1\nHost: h\n",
		"TRACE":             "TRACE /ws HTTP/1.1\nHost: h\n",
		"CONNECT":           "CONNECT h:443 HTTP/1.1\nHost: h\n",
		"below":             "GET /ws/ HTTP/1.1\n" + upgrade + bearer,
		"a proxy's request": "GET http://elsewhere.example/ HTTP/1.1\nHost: h\n",
		"HTTP/2":            "PRI * HTTP/2.0\n\nSM\n",
	} {
		response, body := h.ask(request + "\n")
		if response.StatusCode != 404 {
			t.Errorf("%s: answered %s", name, response.Status)
		}
		response.Header.Del("Date")
		response.Header.Del("Connection") // HTTP/1.0 keeps it in there
		seen[fmt.Sprint(response.Header, response.Close, body)] = name
	}
	if len(seen) != 1 {
		t.Errorf("%d answers: %v", len(seen), seen)
	}
	for _, request := range []string{"GET / HTTP/1.1\nHost: h\n", "nonsense\n",
		"GET / HTTP/9.9\nHost: h\n", wrong} {
		response, body := h.ask(request + "\n")
		var text strings.Builder
		_ = response.Header.Write(&text)
		for _, word := range []string{"tunnel", "server:", "go", "websocket", "vpn"} {
			if strings.Contains(strings.ToLower(text.String()+body), word) {
				t.Errorf("%s says %q\n%s%s", response.Status, word, text.String(), body)
			}
		}
	}
}

// open opens a TCP connection to the hub.
func (h *hub) open() net.Conn {
	h.t.Helper()
	conn, err := new(net.Dialer).DialContext(h.t.Context(), "tcp", h.Address)
	if err != nil {
		h.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	return conn
}

// send writes text with the line ends of HTTP.
func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if !strings.Contains(text, "\r\n") {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func firstLine(conn net.Conn) string {
	buf := make([]byte, len("HTTP/1.1 "+http.StatusText(http.StatusSwitchingProtocols)))
	n, _ := io.ReadFull(conn, buf)
	return string(buf[:n])
}

// joinOnceThereIsRoom joins as soon as there is room; those in excess are closed without a word.
func (h *hub) joinOnceThereIsRoom() *member {
	h.t.Helper()
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		m, err := h.dial(transport.Connect{})
		if err == nil {
			h.t.Cleanup(m.leave)
			return m
		}
		if time.Now().After(until) {
			h.t.Fatal(err)
		}
	}
}
