package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// shown is a connection whose client has shown a certificate with this subject, which an authority
// vouches for.
func shown(subject pkix.Name) *tls.ConnectionState {
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: subject}}}}
}

func TestBoundToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	bound, free := create(t, s, Spec{Name: "bound", CertCN: "laptop.example"}), create(t, s,
		Spec{Name: "free"})
	join := create(t, s, Spec{Name: "join", CertCN: "laptop.example", Once: true})
	shut()
	s, _ = reopen(t, path)
	unverified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{
		{Subject: pkix.Name{CommonName: "laptop.example"}}}}
	for name, test := range map[string]struct {
		state *tls.ConnectionState
		opens bool
	}{
		"no TLS":         {nil, false},
		"no certificate": {&tls.ConnectionState{}, false},
		"unverified":     {unverified, false},
		"its own": {shown(pkix.Name{CommonName: "laptop.example", Organization: []string{"any"}}),
			true},
		"another":        {shown(pkix.Name{CommonName: "phone.example"}), false},
		"other case":     {shown(pkix.Name{CommonName: "Laptop.example"}), false},
		"longer":         {shown(pkix.Name{CommonName: "laptop.example."}), false},
		"by other field": {shown(pkix.Name{OrganizationalUnit: []string{"laptop.example"}}), false},
	} {
		for _, text := range []string{bound, join} {
			r := with("Bearer " + text)
			r.TLS = test.state
			g, err := s.Admit(r)
			if (err == nil) != test.opens || !test.opens && (!errors.Is(err, ErrCertificate) ||
				g.ID != "") {
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

// A subject is what somebody else's authority has signed: it is cut, and nothing in it moves a
// cursor.
func TestSubject(t *testing.T) {
	if got := Subject(shown(pkix.Name{CommonName: "lap\x1b[2Jtop\n",
		Organization: []string{strings.Repeat("ä", 500)}})); len([]rune(got)) != maxSubject+1 ||
		!strings.HasPrefix(got, "CN=lap?[2Jtop?,O=ä") {
		t.Errorf("got %q", got)
	}
	if got := Subject(nil) + Subject(&tls.ConnectionState{}); got != "" {
		t.Errorf("of none: %q", got)
	}
}
