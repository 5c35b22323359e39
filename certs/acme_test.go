package certs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// cached puts a certificate for domain into the directory in which ACME keeps its own.
func cached(t *testing.T, dir, domain string) *x509.Certificate {
	t.Helper()
	i := newIdentity(t, t.TempDir(), domain)
	key, ok := i.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("no ECDSA key")
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	data = append(data,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate.Leaf.Raw})...)
	if err := os.WriteFile(filepath.Join(dir, domain), data, 0o600); err != nil {
		t.Fatal(err)
	}
	return i.Certificate.Leaf
}

// A name in a client's handshake causes no request to the authority.
func TestACMENames(t *testing.T) {
	dir := t.TempDir()
	first, second := cached(t, dir, "first.example"), cached(t, dir, "second.example")
	cached(t, dir, "other.example") // must not be shown
	a := NewACME(ACMEConfig{
		Domains: []string{"first.example", "second.example"}, Dir: dir,
		Log:       slog.New(slog.DiscardHandler),
		Directory: "https://127.0.0.1:1/nobody",
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		a.Run(ctx)
		close(done)
	}()
	for name, want := range map[string]*x509.Certificate{
		"first.example": first, "second.example": second, "SECOND.example.": second,
		"": first, "other.example": first, "../first.example": first, "192.0.2.1": first,
	} {
		// autocert would request an RSA certificate for a client without ECDSA.
		got, err := a.GetCertificate(&tls.ClientHelloInfo{ServerName: name,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}})
		if err != nil || !got.Leaf.Equal(want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if cert, err := a.GetCertificate(&tls.ClientHelloInfo{ServerName: "first.example",
		SupportedProtos: []string{ACMEProtocol}}); err == nil {
		t.Errorf("a challenge that nobody awaits is answered with %v", cert.Leaf.Subject)
	}
	cancel()
	<-done
}

func TestACMEReport(t *testing.T) {
	now := time.Now()
	lives := func(from, until time.Duration) *x509.Certificate {
		return &x509.Certificate{Raw: []byte(until.String()), NotBefore: now.Add(from),
			NotAfter: now.Add(until)}
	}
	const day = 24 * time.Hour
	fresh, old := lives(-day, 89*day), lives(-80*day, 10*day)
	for _, test := range []struct {
		before, now *x509.Certificate
		want        string
	}{
		{nil, fresh, "level=INFO"},
		{fresh, fresh, ""},
		{old, fresh, "level=INFO"},
		{old, old, "level=WARN"},
	} {
		var log bytes.Buffer
		(&ACME{}).report(slog.New(slog.NewTextHandler(&log, nil)), test.before, test.now, now)
		if got := log.String(); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("got %q; want %s", got, test.want)
		}
	}
}

// No more than acmeWaiting handshakes wait for the first certificate.
func TestACMEWaitersAreFew(t *testing.T) {
	a := NewACME(ACMEConfig{
		Domains: []string{"a.example"}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
	})
	hello := &tls.ClientHelloInfo{ServerName: "a.example"}
	var group sync.WaitGroup
	for range acmeWaiting {
		group.Go(func() { _, _ = a.GetCertificate(hello) })
	}
	for len(a.waiting) < acmeWaiting {
		time.Sleep(time.Millisecond)
	}
	if _, err := a.GetCertificate(hello); !errors.Is(err, errNoCertificate) {
		t.Errorf("one too many: %v", err)
	}
	close(a.ready["a.example"])
	group.Wait()
}
