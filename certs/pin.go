package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pin identifies a public key by the SHA-256 of its SubjectPublicKeyInfo (RFC 7469 section 2.4). A
// certificate that is renewed for the same key keeps its pin.
type Pin [sha256.Size]byte

const pinPrefix = "sha256:"

// PinOf returns the pin of cert's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// ParsePin parses "sha256:" and the hash, in base64 (with or without = at the end) or as 64
// hexadecimal digits.
func ParsePin(s string) (Pin, error) {
	text, ok := strings.CutPrefix(s, pinPrefix)
	if !ok {
		return Pin{}, fmt.Errorf("%q does not begin with %s", s, pinPrefix)
	}
	decode := base64.RawStdEncoding.Strict().DecodeString
	if len(text) == hex.EncodedLen(sha256.Size) {
		decode = hex.DecodeString
	} else {
		text = strings.TrimSuffix(text, "=")
	}
	hash, err := decode(text)
	if err != nil || len(hash) != sha256.Size {
		return Pin{}, fmt.Errorf("%q is not %s and a SHA-256 in base64 or hexadecimal", s,
			pinPrefix)
	}
	return Pin(hash), nil
}

// String returns the pin in the form that ParsePin parses, in base64.
func (p Pin) String() string { return pinPrefix + base64.StdEncoding.EncodeToString(p[:]) }

// Pins are the pins of which a server's key must match one.
type Pins []Pin

// Verify is a tls.Config.VerifyConnection: the key of the peer's own certificate must match a pin.
// The error is a *PinError. The rest of the chain does not count: the handshake proves nothing
// about those keys.
func (p Pins) Verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has shown no certificate")
	}
	seen := PinOf(state.PeerCertificates[0])
	if slices.Contains(p, seen) { // not constant-time: pins are no secrets
		return nil
	}
	return &PinError{Seen: seen, Want: p}
}

// PinError means that the server's key matches no pin.
type PinError struct {
	Seen Pin
	Want Pins
}

func (e *PinError) Error() string {
	var want []string
	for _, p := range e.Want {
		want = append(want, p.String())
	}
	return fmt.Sprintf("the server's key is %s, and not the pinned %s", e.Seen,
		strings.Join(want, " or "))
}

// Reason returns the reason for a transport.StepError.
func (e *PinError) Reason() string { return "pin" }
