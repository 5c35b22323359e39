package page

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"tunnel/admin/web"
	"tunnel/config"
)

// pageAt returns the page of a server that listens at an address, and its log.
func pageAt(at string, identity Identity, told *config.Serve) (*Page, *bytes.Buffer) {
	identity.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	var log bytes.Buffer
	return newPage(fakeListener{at: &net.TCPAddr{IP: net.ParseIP(at), Port: 8444}}, told, identity,
		slog.New(slog.NewTextHandler(&log, nil))), &log
}

type fakeListener struct {
	net.Listener
	at net.Addr
}

func (l fakeListener) Addr() net.Addr { return l.at }

// certificate returns one for names and an address.
func certificate(address string, names ...string) func() *x509.Certificate {
	cert := &x509.Certificate{DNSNames: names, Raw: []byte{1}, RawSubjectPublicKeyInfo: []byte{2}}
	if address != "" {
		cert.IPAddresses = []net.IP{net.ParseIP(address)}
	}
	return func() *x509.Certificate { return cert }
}

// The link leads to the address at which the page listens, never to a name that another user of
// this machine may answer for; if it listens at all, to the server's host, or else to a name of its
// certificate.
func TestURL(t *testing.T) {
	files := Identity{Signed: true, Current: certificate("198.51.100.1", "*.example", "hub.example")}
	files.Host = "guess.example.net"
	for _, test := range []struct {
		at, want string
		identity Identity
	}{
		{"127.0.0.1", "http://127.0.0.1:8444/login", Identity{Host: "hub.example"}},
		{"127.0.0.2", "http://127.0.0.2:8444/login", Identity{Host: "hub.example"}},
		{"::1", "http://[::1]:8444/login", Identity{Host: "hub.example"}},
		{"10.1.1.1", "https://10.1.1.1:8444/login", Identity{Host: "hub.example"}},
		{"2001:db8::1", "https://[2001:db8::1]:8444/login", Identity{Host: "hub.example"}},
		{"0.0.0.0", "https://hub.example:8444/login", Identity{Host: "hub.example"}},
		{"::", "https://hub.example:8444/login", Identity{Host: "hub.example"}},
		{"::", "https://198.51.100.7:8444/login", Identity{Host: "198.51.100.7"}},
		{"::", "https://guess.example.net:8444/login", files},
		{"::", "https://a.example:8444/login", Identity{Host: "192.0.2.1", Signed: true,
			Domains: []string{"a.example"}}},
	} {
		if p, _ := pageAt(test.at, test.identity, config.DefaultServe()); p.url != test.want {
			t.Errorf("%s: %s, want %s", test.at, p.url, test.want)
		}
	}
}

// A link says what proves the certificate if the browser will warn of it, and only then.
func TestLink(t *testing.T) {
	own, signed := certificate("", "hub.example"), certificate("198.51.100.1", "hub.example")
	acme := Identity{Domains: []string{"a.example"}, Signed: true}
	files := Identity{Host: "hub.example", Signed: true, Current: signed}
	for name, test := range map[string]struct {
		at       string
		identity Identity
		named    string
		proven   bool
	}{
		"loopback":            {"127.0.0.1", Identity{Current: own}, "", false},
		"its own key":         {"::", Identity{Host: "hub.example", Current: own}, "", true},
		"by its name":         {"::", files, "", false},
		"by its address":      {"198.51.100.1", files, "", false},
		"by another":          {"10.1.1.1", files, "hub.example", true},
		"obtained, by name":   {"::", acme, "", false},
		"obtained, by number": {"10.1.1.1", acme, "a.example", false},
	} {
		p, _ := pageAt(test.at, test.identity, config.DefaultServe())
		p.page = web.New(p.config)
		l := p.link()
		if l.Name != test.named || (l.Certificate != "") != test.proven ||
			(l.Pin != "") != test.proven || !strings.HasPrefix(l.URL, p.url+"#") {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// The page is called by the names that the server has, and no others, however its certificate
// matches them.
func TestPageNames(t *testing.T) {
	for _, test := range []struct {
		i    Identity
		yes  []string
		noes []string
	}{
		{Identity{}, nil, []string{"", "evil.example", "localhost"}},
		{Identity{Host: "Hub.Example"}, []string{"hub.example", "hub.example."},
			[]string{"", "evil.example", "x.hub.example", "hub.example.evil.example"}},
		{Identity{Host: "192.0.2.1", Domains: []string{"a.example", "b.example"}},
			[]string{"a.example", "b.example"}, []string{"c.example", "example", "192.0.2.1"}},
		{Identity{Current: certificate("", "*.example", "own.example")}, []string{"own.example"},
			[]string{"evil.example", "*.example"}},
	} {
		p, _ := pageAt("::", test.i, config.DefaultServe())
		for _, name := range test.yes {
			if !p.named(name) {
				t.Errorf("%q is not a name of %+v", name, test.i)
			}
		}
		for _, name := range test.noes {
			if p.named(name) {
				t.Errorf("%q is a name of %+v", name, test.i)
			}
		}
	}
}

// A page that --client-ca does not cover is warned of, and a reload changes what it shows.
func TestPageOfServe(t *testing.T) {
	for at, want := range map[string]bool{"::": true, "127.0.0.1": false} {
		if _, log := pageAt(at, Identity{ClientCA: true}, config.DefaultServe()); strings.Contains(
			log.String(), "level=WARN") != want || !strings.Contains(log.String(), ":8444/login") {
			t.Errorf("%s: %s", at, log)
		}
	}
	p, log := pageAt("::", Identity{}, config.DefaultServe())
	if strings.Contains(log.String(), "WARN") {
		t.Errorf("without --client-ca: %s", log)
	}
	told := config.DefaultServe()
	told.PushRoute, told.Masquerade = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}, true
	before, _ := p.networks()
	p.Reload(told)
	if after, public := p.networks(); len(before) != 0 || len(after) != 1 || !public {
		t.Errorf("before a reload %v, after it %v, %v", before, after, public)
	}
	(*Page)(nil).Reload(told)
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
	page.TLS = forBrowsers(strict)
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
