package server_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tunnel/auth"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// ask sends a request by hand and returns the answer and its body.
func (h *hub) ask(request string) (*http.Response, string) {
	h.t.Helper()
	conn, err := new(net.Dialer).DialContext(h.t.Context(), "tcp", h.Address)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		h.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response, ""
	}
	// a server that has not read all of the request resets the connection
	body, _ := io.ReadAll(response.Body)
	return response, string(body)
}

const (
	upgrade = "Host: h\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n" +
		"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\nSec-WebSocket-Protocol: tunnel.v1\n"
	get    = "GET /ws HTTP/1.1\n" + upgrade
	bearer = "Authorization: Bearer " + token + "\n"
	own    = "Tunnel-" + bearer
)

func TestHTTP(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	for name, test := range map[string]struct {
		request string
		want    int
	}{
		"another path":          {"GET / HTTP/1.1\nHost: h\n\n", 404},
		"another path, token":   {"GET / HTTP/1.1\nHost: h\n" + bearer + "\n", 404},
		"another path, upgrade": {"GET /other HTTP/1.1\n" + upgrade + bearer + "\n", 404},
		"below the path":        {"GET /ws/ HTTP/1.1\n" + upgrade + bearer + "\n", 404},
		"no token":              {get + "\n", 401},
		"no token, no upgrade":  {"GET /ws HTTP/1.1\nHost: h\n\n", 404},
		"wrong token":           {get + "Authorization: Bearer wrong-horse-battery\n\n", 401},
		"another scheme":        {get + "Authorization: Basic " + token + "\n\n", 401},
		"token in the query":    {"GET /ws?token=" + token[:8] + " HTTP/1.1\n" + upgrade + "\n", 401},
		"token, no upgrade":     {"GET /ws HTTP/1.1\nHost: h\n" + bearer + "\n", 404},
		"token, POST": {
			strings.Replace(get, "GET", "POST", 1) + bearer + "Content-Length: 0\n\n", 404,
		},
		"token, another version":  {strings.Replace(get, ": 13", ": 8", 1) + bearer + "\n", 404},
		"token, another origin":   {get + bearer + "Origin: https://evil.example\n\n", 404},
		"token, this origin":      {get + bearer + "Origin: https://H\n\n", 101},
		"endless header":          {get + bearer + "X: " + strings.Repeat("x", 64<<10) + "\n\n", 431},
		"no HTTP":                 {"SSH-2.0-OpenSSH_9.2p1\n\n", 400},
		"token in another case":   {get + "authorization: bearer " + token + "\n\n", 101},
		"token in own header":     {get + own + "\n", 101},
		"both headers":            {get + own + "Authorization: Basic dXNlcjpwYXNz\n\n", 101},
		"both, Bearer":            {get + own + "Authorization: Bearer of.another.server\n\n", 101},
		"wrong token, own header": {get + "Tunnel-Authorization: Bearer wrong-horse-battery\n\n", 401},
		"own header, no scheme":   {get + "Tunnel-Authorization: " + token + "\n\n", 401},
		"token":                   {get + bearer + "\n", 101},
		"token, query":            {"GET /ws?x=1 HTTP/1.1\n" + upgrade + bearer + "\n", 101},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := h.ask(test.request)
			if response.StatusCode != test.want {
				t.Errorf("answered %s; want %d\n%s", response.Status, test.want, body)
			}
			challenge := response.Header.Get("WWW-Authenticate")
			want := ""
			switch {
			case test.want == 401 && strings.Contains(name, "wrong"):
				want = `Bearer realm="tnl", error="invalid_token"`
			case test.want == 401:
				want = `Bearer realm="tnl"`
			}
			if challenge != want {
				t.Errorf("WWW-Authenticate: %q; want %q", challenge, want)
			}
			if strings.Contains(body, token) {
				t.Errorf("the token is in the answer: %s", body)
			}
		})
	}
}

// Without a gate everybody comes in.
func TestNoGate(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.Auth = auth.AllowAll{} })
	if response, _ := h.ask(get +
		"\n"); response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("answered %s", response.Status)
	}
}

func TestWrongTokenDials(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	d := h.dialer()
	d.Token = "wrong-horse-battery-staple"
	_, err := d.Dial(t.Context())
	var step *transport.StepError
	if !errors.As(err, &step) || step.Step != transport.StepAuth {
		t.Errorf("got %v", err)
	}
	h.drops() // stops it
	if log := string(h.Log.Text()); !strings.Contains(log,
		`"level":"WARN","msg":"refused","remote":"127.0.0.1:`) ||
		!strings.Contains(log, `"err":"wrong token"`) ||
		strings.Contains(log, "wrong-horse") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil) // for its certificate
	web.StartTLS()
	// documented
	certificate := web.TLS.Certificates[0]
	pool := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	web.Close()
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{certificate},
			MinVersion: tls.VersionTLS12}
	})
	d := h.dialer()
	d.URL.Scheme, d.TLS = "wss", &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	conn, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	link, err := conn.Request(t.Context(), transport.Connect{}, packet.Offload{})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t, conn, link}
	for i := range uint32(100) {
		m.sends(tuntest.SizedPacket(m.own(), "10.1.1.1", i, 60000))
		h.Device.Sends(t, tuntest.SizedPacket("10.1.1.1", m.own(), i, 60000))
		if up, down := tuntest.IDOf(h.Device.Gets(t)), tuntest.IDOf(m.gets(1)[0]); up != i ||
			down != i {
			t.Fatalf("packets %d, %d; want %d", up, down, i)
		}
	}
	m.leave()
}
