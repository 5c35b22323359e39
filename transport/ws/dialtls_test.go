package ws_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"tunnel/transport"
	"tunnel/transport/ws"
)

func TestDialTLS(t *testing.T) {
	ca := newAuthority(t)
	address := accepting(t, ca.server(t, "127.0.0.1"),
		func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
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
	cbc := ca.server(t, "127.0.0.1")
	cbc.MaxVersion = tls.VersionTLS12
	cbc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA} // which Go would take
	bare := ca.server(t, "127.0.0.1")
	bare.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil,
			errors.New("none yet")
	}
	bare.Certificates = nil
	for name, f := range map[string]dialFailure{
		"unknown authority": {wss(other.server(t, "127.0.0.1")), transport.StepTLS,
			"unknown authority", "authority sha256:"},
		"old ciphers": {wss(cbc), transport.StepTLS, "handshake failure",
			"cert-perhaps "},
		"no certificate": {wss(bare), transport.StepTLS, "internal error",
			"its log"},
		"wrong name": {wss(ca.server(t, "server.example")),
			transport.StepTLS, "127.0.0.1", "hostname "},
		"expired": {wss(ca.until(t, "127.0.0.1",
			time.Now().Add(-time.Hour))), transport.StepTLS, "expired", "clock"},
		"too old": {wss(old), transport.StepTLS, "protocol version",
			"TLS"},
		"a client certificate is asked for": {wss(certified), transport.StepTLS,
			"handshake failure", "cert-perhaps "},
		"plain HTTP": {wss(nil), transport.StepTLS,
			"first record does not look like a TLS handshake", "ws://"},
		"another protocol": {
			speaking(func(conn net.Conn) {
				_,
					_ = conn.Write([]byte("SSH-2.0-OpenSSH_9.2p1\r\n"))
			}), transport.StepTLS,
			"TLS handshake", "ws://",
		},
		// With its hello read there is an end of the stream; with the hello unread the kernel
		// resets the connection.
		"hung up": {speaking(readHello), transport.StepTLS, "", "speaks TLS"},
		"reset":   {speaking(reset), transport.StepTLS, "reset by peer", "try again"},
	} {
		t.Run(name, func(t *testing.T) {
			d := dialer(t, f.serve(t))
			d.TLS = ca.client()
			f.check(t, d)
		})
	}
}

// readHello reads the client's first TLS record whole (RFC 8446 section 5.1), so that closing the
// connection sends a FIN.
func readHello(conn net.Conn) {
	var header [5]byte
	if _, err := io.ReadFull(conn, header[:]); err == nil {
		_, _ = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint16(header[3:])))
	}
}

// reset has the kernel send a RST when the connection is closed (socket(7), SO_LINGER).
func reset(conn net.Conn) {
	readHello(conn)
	_ = conn.(*net.TCPConn).SetLinger(0)
}

// Without a --ca the system's authorities count, and ours is none of them.
func TestDialTLSSystem(t *testing.T) {
	address := serveHTTP(t, newAuthority(t).server(t, "127.0.0.1"), nil)
	dialFailure{nil, transport.StepTLS, "unknown authority", "authority "}.check(t,
		dialer(t, "wss://"+address))
}

// An unknown authority's advice names the key that was seen, which is not the authority's.
func TestDialTLSSeenPin(t *testing.T) {
	server := newAuthority(t).server(t, "127.0.0.1")
	leaf, err := x509.ParseCertificate(server.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	_, err = dialer(t, "wss://"+serveHTTP(t, server, nil)).Dial(t.Context())
	var step *transport.StepError
	if want := "sha256:" + base64.StdEncoding.EncodeToString(key[:]); !errors.As(err, &step) ||
		step.Subject != want {
		t.Errorf("%v; want an advice with %s", err, want)
	}
}

// advised is a failure of the caller's own check.
type advised struct{}

func (advised) Error() string  { return "not the right one" }
func (advised) Reason() string { return "take another" }

func TestDialTLSOwnCheck(t *testing.T) {
	ca := newAuthority(t)
	d := dialer(t, "wss://"+serveHTTP(t, ca.server(t, "127.0.0.1"), nil))
	d.TLS = ca.client()
	d.TLS.VerifyConnection = func(tls.ConnectionState) error { return advised{} }
	dialFailure{nil, transport.StepTLS, "not the right one", "take another"}.check(t, d)
}

// With TLS 1.3 a server's alert about the client's certificate arrives after the client's
// handshake, at any later step: it must never be lost.
func TestDialTLSClientCertificate(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	server := ca.server(t, "127.0.0.1")
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, ca.client().RootCAs
	address := accepting(t, server, func(c *ws.Conn) { c.Close(transport.CodeNormal, "") })
	dial := func(certificates []tls.Certificate) error {
		d := dialer(t, "wss://"+address)
		d.TLS = ca.client()
		d.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if certificates == nil {
				return new(tls.Certificate), nil
			}
			return &certificates[0], nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := d.Dial(ctx)
		if err == nil {
			c.Close(transport.CodeNormal, "")
		}
		return err
	}
	for range 50 {
		dialFailure{nil, transport.StepTLS, "certificate required", "cert-wanted "}.compare(t,
			dial(nil))
		dialFailure{nil, transport.StepTLS, "unknown certificate authority",
			"cert-refused "}.compare(t, dial(other.person(t, time.Now().Add(time.Hour))))
	}
	dialFailure{nil, transport.StepTLS, "expired certificate", "cert-refused "}.compare(t,
		dial(ca.person(t, time.Now().Add(-time.Hour))))
	dialFailure{nil, transport.StepTLS, "bad certificate", "cert-refused "}.compare(t,
		dial(ca.server(t, "127.0.0.1").Certificates))
	if err := dial(ca.person(t, time.Now().Add(time.Hour))); err != nil {
		t.Error(err)
	}
}

// Cipher suites of TLS 1.2 that Go accepts by default are not accepted here.
func TestListenerRefusesOldTLS(t *testing.T) {
	ca := newAuthority(t)
	config := ca.server(t, "127.0.0.1")
	config.MinVersion = 0
	address := serveHTTP(t, config, nil)
	for name, test := range map[string]struct {
		min, max uint16
		suite    uint16
		ok       bool
	}{
		"1.3": {tls.VersionTLS13, tls.VersionTLS13, 0, true},
		"1.2 with GCM": {tls.VersionTLS12, tls.VersionTLS12,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		"1.2 with CBC": {tls.VersionTLS12, tls.VersionTLS12,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, false},
		"1.1": {tls.VersionTLS10, tls.VersionTLS11, 0, false},
	} {
		client := ca.client()
		client.MinVersion, client.MaxVersion = test.min, test.max
		if test.suite != 0 {
			client.CipherSuites = []uint16{test.suite}
		}
		conn, err := (&tls.Dialer{Config: client}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if config.MinVersion != 0 || config.CipherSuites != nil {
		t.Error("the caller's tls.Config was changed")
	}
}
