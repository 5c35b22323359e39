package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tunnel/dns/dnstest"
)

// oldNameServer answers every name of type A by 127.0.0.1, but not queries with EDNS(0): it drops
// them, or answers FORMERR. It returns its address, and ends with the test.
func oldNameServer(t *testing.T, drops bool) string {
	t.Helper()
	pc, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = pc.Close(); <-done })
	go func() {
		defer close(done)
		dnstest.Answer(pc, func(m *dnsmessage.Message) bool {
			edns := len(m.Additionals) > 0
			m.Additionals = nil
			if edns {
				m.RCode = dnsmessage.RCodeFormatError
				return !drops
			}
			dnstest.AnswerA(m, [4]byte{127, 0, 0, 1})
			return true
		})
	}()
	return pc.LocalAddr().String()
}

// The authority is found by name servers that do not know EDNS(0).
func TestACMELookup(t *testing.T) {
	t.Parallel()
	for name, drops := range map[string]bool{
		"queries with EDNS(0) are dropped": true, "queries with EDNS(0) are an error": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := oldNameServer(t, drops)
			reached := make(chan struct{}, 16)
			authority := httptest.NewTLSServer(http.HandlerFunc(
				func(w http.ResponseWriter, _ *http.Request) {
					select {
					case reached <- struct{}{}:
					default:
					}
					http.Error(w, "not today", http.StatusTeapot)
				}))
			defer authority.Close()
			u, err := url.Parse(authority.URL)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(authority.Certificate())
			a := NewACME(ACMEConfig{
				Domains: []string{"a.example"}, Dir: t.TempDir(), Roots: roots,
				Directory: "https://example.com:" + u.Port() + "/dir", // whom its certificate names
				Log:       slog.New(slog.DiscardHandler),
				Resolver: &net.Resolver{PreferGo: true,
					Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, server)
					}},
			})
			ctx, cancel := context.WithCancel(t.Context())
			tried := make(chan struct{})
			go func() {
				defer close(tried)
				_, _ = a.patient(ctx, "a.example")
			}()
			select {
			case <-reached:
			case <-time.After(time.Minute):
				t.Error("the authority was not reached")
			}
			cancel()
			<-tried
		})
	}
}
