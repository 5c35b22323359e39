package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
)

// A certificate that is not valid now accuses this machine's clock only if all else about it is
// right: anybody on the path can make one of another time, and a server's clock.
func TestJudgeDates(t *testing.T) {
	t.Parallel()
	now := time.Now()
	then := now.AddDate(-1, 0, 0)
	for name, test := range map[string]struct {
		trusted bool
		address string
		clock   time.Time
		want    doctor.Problem
	}{
		"forged":                {false, "127.0.0.1", then, doctor.UnknownAuthority},
		"forged, expired":       {false, "127.0.0.1", now, doctor.UnknownAuthority},
		"forged, without clock": {false, "127.0.0.1", time.Time{}, doctor.UnknownAuthority},
		"of another":            {true, "192.0.2.9", then, doctor.CertificateName},
		"wrong clock":           {true, "127.0.0.1", then, doctor.ClockWrong},
		"expired":               {true, "127.0.0.1", now, doctor.CertificateExpired},
		"without clock":         {true, "127.0.0.1", time.Time{}, doctor.CertificateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert := selfSigned(t, net.ParseIP(test.address), then)
			roots := x509.NewCertPool()
			if test.trusted {
				roots.AddCert(cert.Leaf)
			}
			p := &path{Server: Server{Dialer: dial.Dialer{URL: showing(t, cert, test.clock),
				TLS: &tls.Config{RootCAs: roots}}}}
			if conn := p.secure(t.Context()); conn != nil {
				t.Fatal("connected")
			}
			if len(p.found) != 1 || p.found[0].Problem != test.want {
				t.Errorf("%+v; want %s", p.found, test.want)
			}
		})
	}
}

// selfSigned makes a certificate that is valid for an hour before and after a time.
func selfSigned(t *testing.T, address net.IP, at time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{address},
		NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour), BasicConstraintsValid: true,
		IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// showing runs a server with a certificate and a clock, the zero time for none.
func showing(t *testing.T, cert tls.Certificate, clock time.Time) *url.URL {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil // none
		if !clock.IsZero() {
			w.Header().Set("Date", clock.UTC().Format(http.TimeFormat))
		}
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	at, err := transport.ParseURL("wss" + strings.TrimPrefix(s.URL, "https"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}
