package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrCertificate says that a token is bound to another client certificate than was shown.
var ErrCertificate = errors.New("not the client certificate that the token is bound to")

// maxCertCN is the longest common name, in characters (ub-common-name, RFC 5280 appendix A.1).
const maxCertCN = 64

// checkCertCN returns an error if no certificate can have this common name; "" accepts any
// certificate, or none.
func checkCertCN(name string) error {
	if utf8.RuneCountInString(name) > maxCertCN || !utf8.ValidString(name) ||
		strings.ContainsFunc(name, unprintable) {
		return fmt.Errorf("%w: %q is no common name of a certificate, at most %d printable "+
			"characters", ErrSpec, name, maxCertCN)
	}
	return nil
}

// certified returns an error if a connection may not use t. The certificate's subject has to have
// the common name CertCN, byte for byte; its other names do not count. The error is ErrCertificate,
// wrapped.
func (t *Token) certified(state *tls.ConnectionState) error {
	if t.CertCN == "" {
		return nil
	}
	cert := clientCertificate(state)
	switch {
	case cert == nil:
		return fmt.Errorf("%w: CN=%s, and none came: the server has to demand one, and to end TLS "+
			"itself, behind no proxy", ErrCertificate, t.CertCN)
	case cert.Subject.CommonName != t.CertCN:
		return fmt.Errorf("%w: CN=%s, and it came with %s", ErrCertificate, t.CertCN,
			Subject(state))
	}
	return nil
}

// clientCertificate returns the certificate that a client has shown and an authority has vouched
// for; nil if none.
func clientCertificate(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// maxSubject is how much of a subject is worth a place in the log, in characters.
const maxSubject = 128

// Subject returns the subject of the client's certificate for people to read (RFC 4514), cut where
// it is long and without control characters; "" if there is none.
func Subject(state *tls.ConnectionState) string {
	cert := clientCertificate(state)
	if cert == nil {
		return ""
	}
	text := []rune(strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, cert.Subject.String()))
	if len(text) > maxSubject {
		text = append(text[:maxSubject], '…')
	}
	return string(text)
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }
