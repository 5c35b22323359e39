package serve

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"tunnel/admin/web"
)

// The link leads to where the page listens: to localhost, to that address, or to the server's host.
func TestPageURL(t *testing.T) {
	for at, want := range map[string]string{
		"127.0.0.1":    "http://localhost:8444/login",
		"127.0.0.2":    "http://127.0.0.2:8444/login",
		"::1":          "http://[::1]:8444/login",
		"10.1.1.1":     "https://10.1.1.1:8444/login",
		"2001:db8::1":  "https://[2001:db8::1]:8444/login",
		"0.0.0.0":      "https://hub.example:8444/login",
		"::":           "https://hub.example:8444/login",
		"198.51.100.1": "https://198.51.100.1:8444/login",
	} {
		ip := net.ParseIP(at)
		w := &webPage{}
		if !ip.IsLoopback() {
			w.config = web.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}}
		}
		if got := w.urlAt(&net.TCPAddr{IP: ip, Port: 8444}, "hub.example"); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

// The page is called by the names that the server has, and no others.
func TestPageNames(t *testing.T) {
	for _, test := range []struct {
		s    serverTLS
		yes  []string
		noes []string
	}{
		{serverTLS{}, nil, []string{"", "evil.example"}},
		{serverTLS{host: "Hub.Example"}, []string{"hub.example", "hub.example."},
			[]string{"", "evil.example", "x.hub.example", "hub.example.evil.example"}},
		{serverTLS{host: "192.0.2.1", domains: []string{"a.example", "b.example"}},
			[]string{"a.example", "b.example"}, []string{"c.example", "example"}},
	} {
		for _, name := range test.yes {
			if !test.s.named(name) {
				t.Errorf("%q is not a name of %+v", name, test.s)
			}
		}
		for _, name := range test.noes {
			if test.s.named(name) {
				t.Errorf("%q is a name of %+v", name, test.s)
			}
		}
	}
}

// A browser without a client certificate reaches the page of a server that demands one of clients.
func TestPageTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.StartTLS() // for its certificate
	defer s.Close()
	strict := s.TLS.Clone()
	strict.ClientAuth = tls.RequireAndVerifyClientCert
	strict.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return strict, nil }
	page := httptest.NewUnstartedServer(http.NotFoundHandler())
	page.TLS = pageTLS(strict)
	page.StartTLS()
	defer page.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusNotFound || answer.ProtoMajor != 1 {
		t.Errorf("answered %s", answer.Status)
	}
}
