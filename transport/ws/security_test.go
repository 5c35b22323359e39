package ws_test

import (
	"crypto/tls"
	"log/slog"
	"testing"

	"tunnel/transport"
	"tunnel/transport/ws"
)

// Between two of this program the key exchange is the hybrid that a quantum computer does not undo,
// and both sides say so; with another peer they say what it is.
func TestKeyExchange(t *testing.T) {
	ca := newAuthority(t)
	for want, limit := range map[string]func(client *tls.Config){
		"[tls=1.3 kex=X25519MLKEM768]": func(*tls.Config) {},
		"[tls=1.3 kex=X25519]": func(c *tls.Config) {
			c.CurvePreferences = []tls.CurveID{
				tls.X25519}
		},
		"[tls=1.2 kex=CurveP256]": func(c *tls.Config) {
			c.CurvePreferences, c.MaxVersion = []tls.CurveID{tls.CurveP256}, tls.VersionTLS12
		},
	} {
		accepted := make(chan slog.Attr, 1)
		address := accepting(t, ca.server(t, "127.0.0.1"), func(c *ws.Conn) {
			accepted <- c.Security()
			c.Close(transport.CodeNormal, "")
		})
		d := dialer(t, "wss://"+address)
		d.TLS = ca.client()
		limit(d.TLS)
		c, err := d.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		dialed := c.Security()
		c.Close(transport.CodeNormal, "")
		if got := (<-accepted).Value.String(); got != want || dialed.Value.String() != want {
			t.Errorf("the server says %s, the client %s; want %s", got, dialed.Value, want)
		}
	}
	address := accepting(t, nil, func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Security().String(); got != "tls=none" {
		t.Errorf("without TLS: %s", got)
	}
	c.Close(transport.CodeNormal, "")
}
