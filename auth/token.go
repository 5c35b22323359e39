// Package auth answers one question: may this request come in?
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
)

// MinTokenLen is the least number of bytes in a token: below that it is guessed, not known.
const MinTokenLen = 16

// Gate admits requests that carry the shared token. It keeps only a hash of it. A nil Gate admits everybody.
type Gate struct {
	hash [sha256.Size]byte
}

// NewGate returns a Gate for token.
func NewGate(token string) *Gate { return &Gate{sha256.Sum256([]byte(token))} }

// Admit tells whether r carries the token as Authorization: Bearer (RFC 6750 section 2.1). It takes as long for a wrong
// token as for a right one.
func (g *Gate) Admit(r *http.Request) bool {
	if g == nil {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	given := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(given[:], g.hash[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// NewSecret returns 128 random bits as text that can stand in a URL, a shell word or JSON.
func NewSecret() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}
