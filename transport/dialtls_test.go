package transport_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"tunnel/transport"
)

func TestDialTLS(t *testing.T) {
	ca := newAuthority(t)
	address := accepting(t, ca.server(t, "127.0.0.1"), func(c *transport.Conn) { c.Close(transport.CodeNormal, "") })
	d := dialer(t, "wss://"+address)
	d.TLS = ca.client()
	c, err := d.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.Close(transport.CodeNormal, "")
	if d.TLS.ServerName != "" {
		t.Error("the caller's tls.Config was changed")
	}
}

func TestDialTLSFails(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	wss := func(config *tls.Config) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return "wss://" + serveHTTP(t, config, nil)
		}
	}
	speaking := func(speak func(net.Conn)) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			return "wss://" + serveTCP(t, speak)
		}
	}
	old := ca.server(t, "127.0.0.1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	certified := ca.server(t, "127.0.0.1")
	certified.ClientAuth = tls.RequireAnyClientCert
	certified.MaxVersion = tls.VersionTLS12 // where the refusal is part of the handshake
	for name, f := range map[string]dialFailure{
		"unknown authority":                 {wss(other.server(t, "127.0.0.1")), transport.StepTLS, "unknown authority", "--ca"},
		"wrong name":                        {wss(ca.server(t, "server.example")), transport.StepTLS, "127.0.0.1", "name that the certificate has"},
		"expired":                           {wss(ca.until(t, "127.0.0.1", time.Now().Add(-time.Hour))), transport.StepTLS, "expired", "clock"},
		"too old":                           {wss(old), transport.StepTLS, "protocol version", "TLS"},
		"a client certificate is asked for": {wss(certified), transport.StepTLS, "handshake failure", "TLS"},
		"plain HTTP":                        {wss(nil), transport.StepTLS, "first record does not look like a TLS handshake", "ws://"},
		"another protocol": {
			speaking(func(conn net.Conn) { _, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.2p1\r\n")) }), transport.StepTLS, "TLS handshake", "ws://",
		},
		"hung up": {speaking(func(net.Conn) {}), transport.StepTLS, "", "speaks TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, f.serve(t))
			d.TLS = ca.client()
			f.check(t, d)
		})
	}
}

// Without a --ca the system's authorities count, and ours is none of them.
func TestDialTLSSystem(t *testing.T) {
	address := serveHTTP(t, newAuthority(t).server(t, "127.0.0.1"), nil)
	dialFailure{nil, transport.StepTLS, "unknown authority", "--ca"}.check(t, dialer(t, "wss://"+address))
}
