package auth

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shown is a connection whose client has shown a certificate with this subject, which an authority vouches for.
func shown(subject pkix.Name) *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: subject}}}}
}

func TestBoundToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	bound, free := create(t, s, Spec{Name: "bound", CertCN: "laptop.example"}), create(t, s, Spec{Name: "free"})
	join := create(t, s, Spec{Name: "join", CertCN: "laptop.example", Once: true})
	shut()
	s, _ = reopen(t, path)
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "laptop.example"}}}}
	for name, test := range map[string]struct {
		state *tls.ConnectionState
		opens bool
	}{
		"no TLS":         {nil, false},
		"no certificate": {&tls.ConnectionState{}, false},
		"unverified":     {unverified, false},
		"its own":        {shown(pkix.Name{CommonName: "laptop.example", Organization: []string{"any"}}), true},
		"another":        {shown(pkix.Name{CommonName: "phone.example"}), false},
		"other case":     {shown(pkix.Name{CommonName: "Laptop.example"}), false},
		"longer":         {shown(pkix.Name{CommonName: "laptop.example."}), false},
		"by other field": {shown(pkix.Name{OrganizationalUnit: []string{"laptop.example"}}), false},
	} {
		for _, text := range []string{bound, join} {
			r := with("Bearer " + text)
			r.TLS = test.state
			g, err := s.Admit(r)
			if (err == nil) != test.opens || !test.opens && (!errors.Is(err, ErrCertificate) || g.ID != "") {
				t.Errorf("%s: %+v, %v", name, g, err)
			}
		}
		r := with("Bearer " + free)
		r.TLS = test.state
		if _, err := s.Admit(r); err != nil {
			t.Errorf("%s, of a token that is not bound: %v", name, err)
		}
	}
	// What becomes of a join token is bound as well.
	r := with("Bearer " + join)
	r.TLS = shown(pkix.Name{CommonName: "laptop.example"})
	g, err := s.Admit(r)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := s.Join(g, "session")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // before it has settled, and after
		refused(t, s, credential, ErrCertificate)
		r := with("Bearer " + credential)
		r.TLS = shown(pkix.Name{CommonName: "laptop.example"})
		if _, err := s.Admit(r); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{strings.Repeat("x", 65), "a\nb", "\xff", "\x1b[31m"} {
		if _, _, err := s.Create(Spec{Name: "bad", CertCN: name}, nil); !errors.Is(err, ErrSpec) {
			t.Errorf("common name %q: %v", name, err)
		}
	}
}

// A subject is what somebody else's authority has signed: it is cut, and nothing in it moves a cursor.
func TestSubject(t *testing.T) {
	if got := Subject(shown(pkix.Name{CommonName: "lap\x1b[2Jtop\n", Organization: []string{strings.Repeat("ä", 500)}})); len([]rune(got)) != maxSubject+1 ||
		!strings.HasPrefix(got, "CN=lap?[2Jtop?,O=ä") {
		t.Errorf("got %q", got)
	}
	if got := Subject(nil) + Subject(&tls.ConnectionState{}); got != "" {
		t.Errorf("of none: %q", got)
	}
}

// The authorities' file is used when it is whole, and once is said when it is not.
func TestAuthoritiesReload(t *testing.T) {
	dir := t.TempDir()
	pem := func(name string) []byte {
		newIdentity(t, filepath.Join(dir, name), name)
		data, err := os.ReadFile(filepath.Join(dir, name, "cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := pem("a"), pem("b"), pem("c")
	file := filepath.Join(dir, "ca.pem")
	put := func(data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	put(a)
	all, err := OpenAuthorities(file, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	pool := func(data ...[]byte) *x509.CertPool {
		p := x509.NewCertPool()
		for _, d := range data {
			p.AppendCertsFromPEM(d)
		}
		return p
	}
	holds := func(what string, want *x509.CertPool, lines int) {
		t.Helper()
		for range 2 {
			all.watch.looked = time.Time{}
			if !all.Pool().Equal(want) {
				t.Errorf("%s: other authorities are in use", what)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != lines {
			t.Errorf("%s: %d lines of log, want %d\n%s", what, n, lines, log.String())
		}
		log.Reset()
	}
	holds("at first", pool(a), 0)
	put(append([]byte("# two of them\n"), append(a, b...)...))
	holds("one more", pool(a, b), 1)
	for what, data := range map[string][]byte{
		"half of the last":       append(bytes.Clone(c), b[:len(b)/2]...),
		"half of the first":      append(bytes.Clone(b[:len(b)/2]), c...),
		"no certificate":         []byte("nothing\n"),
		"nothing":                {},
		"a damaged one":          bytes.Replace(c, []byte("MII"), []byte("AII"), 1),
		"a line out of its text": append(bytes.Clone(c), bytes.Join(bytes.Split(b, []byte("\n"))[1:], []byte("\n"))...),
	} {
		put(data)
		if what == "a line out of its text" { // no BEGIN: it is text between certificates
			holds(what, pool(c), 1)
			continue
		}
		before := all.Pool()
		holds(what, before, 1)
		if _, err := OpenAuthorities(file, nil, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: a server starts with it", what)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	holds("no file", all.pool, 1)
	put(b)
	holds("another", pool(b), 1)
}
