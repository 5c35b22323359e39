package serve

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"tunnel/certs"
)

// TestChallengeOnly lets a client that offers the ACME protocol see the certificate, and no more.
func TestChallengeOnly(t *testing.T) {
	identity, err := certs.OpenIdentity(t.TempDir(), "server.example")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1", certs.ACMEProtocol},
		Certificates: []tls.Certificate{identity.Certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
	}
	config.GetConfigForClient = challengeOnly(config)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	for name, test := range map[string]struct {
		protocols []string
		sees      bool
	}{
		"the authority":            {[]string{certs.ACMEProtocol}, true},
		"a client":                 {[]string{"http/1.1"}, false},
		"one that would like both": {[]string{certs.ACMEProtocol, "http/1.1"}, false},
	} {
		theirs, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		let := make(chan bool, 1)
		go func() {
			ours, err := ln.Accept()
			if err != nil {
				t.Error(err)
				let <- false
				return
			}
			_, _ = ours.SetDeadline(time.Now().Add(10*time.Second)),
				theirs.SetDeadline(time.Now().Add(10*time.Second))
			// What reaches the HTTP server is what Read returns.
			n, err := tls.Server(ours, config).Read(make([]byte, 1))
			let <- n > 0 || err == nil
			_ = ours.Close()
		}()
		asked := false
		client := tls.Client(theirs, &tls.Config{
			InsecureSkipVerify: true, NextProtos: test.protocols, ServerName: "server.example",
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = true
				return new(tls.Certificate), nil
			},
		})
		err = client.HandshakeContext(t.Context())
		if err == nil {
			_, _ = client.Write([]byte("GET /ws HTTP/1.1\r\n\r\n"))
		}
		if sees := err == nil && !asked; sees != test.sees {
			t.Errorf("%s: sees %v (%v), want %v", name, sees, err, test.sees)
		}
		if <-let {
			t.Errorf("%s gets in without a certificate", name)
		}
		_ = theirs.Close()
	}
}

func TestACMEHint(t *testing.T) {
	domains := []string{"server.example.com"}
	for _, test := range []struct {
		domains []string
		port    int
		hint    bool
	}{{domains, 8443, true}, {domains, 443, false}, {nil, 8443, false}} {
		if got := acmeElsewhere(test.domains, &net.TCPAddr{Port: test.port}); got != test.hint {
			t.Errorf("%v, port %d: %v", test.domains, test.port, got)
		}
	}
}
