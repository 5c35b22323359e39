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

// ErrCertificate means that a token is bound to another client certificate than the one presented.
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

// certified returns ErrCertificate, wrapped, if a connection may not use t: the subject of its
// client certificate must have the common name CertCN, byte for byte. Other names do not count.
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

// clientCertificate returns the verified certificate of a client, nil if there is none.
func clientCertificate(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// maxSubject is the most characters of a subject that are logged.
const maxSubject = 128

// Subject returns the subject of the client's certificate in readable form (RFC 4514), truncated
// to maxSubject and without control characters; "" if there is no certificate.
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
