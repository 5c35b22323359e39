// Package auth decides which clients a server admits, by tokens. Each token has a name, and says
// what its holder may do. Only hashes of tokens are stored.
package auth

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// MinTokenLen is the least number of bytes in a token that a user chose: a shorter one could be
// guessed.
const MinTokenLen = 16

// A token's text is tokenPrefix, its id, and 256 random bits: "tnl_ID_SECRET". The id is not
// secret. The token is looked up by its id, so that the secret is compared with one hash only, in
// constant time. A join token has joinMark before the secret, so that a client can tell that it has
// one without asking the server, see Exchanges.
const (
	tokenPrefix = "tnl_"
	idLen       = 10 // characters: 50 bits, enough to avoid collisions
	joinMark    = "join_"
)

// A Kind is what a token is for.
type Kind string

// The kinds of tokens.
const (
	KindToken      Kind = "token"      // admits every client that has it
	KindJoin       Kind = "join"       // admits the client that first uses it; see Store.Join
	KindCredential Kind = "credential" // replaces a join token: admits that one client
	kindRevoked    Kind = "revoked"    // admits nobody: its holder is told so
)

// Token describes a token, without its secret.
type Token struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Kind    Kind       `json:"kind"`
	Address netip.Addr `json:"address,omitzero"` // reserved for it; the zero Addr is none
	// networks behind its client, which may send from them and gets packets for them
	Routes []netip.Prefix `json:"routes,omitempty"`
	// networks behind the server that its clients may reach, beside those for all
	PushRoutes []netip.Prefix `json:"push_routes,omitempty"`
	// DNS servers that its clients are told, in place of those for all
	DNS []netip.Addr `json:"dns,omitempty"`
	// domains whose names these servers know, beside those for all; lower case, no final dot
	Domains []string `json:"domains,omitempty"`

	Expires time.Time `json:"expires,omitzero"` // the zero Time is never
	Created time.Time `json:"created"`
	Used    time.Time `json:"used,omitzero"` // last; the zero Time is never

	// common name of the client certificate that it requires; "" requires none
	CertCN string `json:"cert_cn,omitempty"`
	// MaxSessions is how many clients may be connected with it at once; 0 is no limit, nil the
	// server's default.
	MaxSessions *int `json:"max_sessions,omitempty"`
}

// Expired reports whether t has expired at now.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Given reports whether t is the token that the server was started with, which cannot be revoked.
func (t *Token) Given() bool { return t.ID == flagName }

// Anonymous reports whether t is the token of AllowAll, which all clients share.
func (t *Token) Anonymous() bool { return t.ID == "" }

// Sole reports whether t belongs to one client: each new connection with it replaces the one
// before. Other tokens may be shared by several clients, which are distinguished by their sessions.
func (t *Token) Sole() bool {
	return t.Kind != KindToken || t.Address.IsValid() ||
		len(t.Routes) > 0
}

// ID returns the id in a token's text, "" if a user chose the text. A join token and the credential
// that replaces it have the same id.
func ID(text string) string {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(rest) <= idLen || rest[idLen] != '_' {
		return ""
	}
	return rest[:idLen]
}

// Is reports whether text is in the form of a token's text, and has the ID of t.
func (t *Token) Is(text string) bool {
	id := ID(text)
	if id == "" || id != t.ID || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return false
	}
	secret := strings.TrimPrefix(text[len(tokenPrefix)+idLen+1:], joinMark)
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	random, err := encoding.DecodeString(strings.ToUpper(secret))
	return err == nil && tokenText(id, t.Kind, random) == text
}

// Exchanges reports whether credential can be the replacement of token: by their texts token is a
// join token, credential is none, and both have the same id.
func Exchanges(token, credential string) bool {
	id := ID(token)
	return id != "" && id == ID(credential) && isJoin(token) && !isJoin(credential)
}

// IsJoin reports whether a token is a join token, by its text.
func IsJoin(token string) bool { return ID(token) != "" && isJoin(token) }

// isJoin reports whether the text of a token, which has an id, says that it is a join token.
func isJoin(text string) bool {
	return strings.HasPrefix(text[len(tokenPrefix)+idLen+1:],
		joinMark)
}

// tokenText puts a token together.
func tokenText(id string, kind Kind, secret []byte) string {
	mark := ""
	if kind == KindJoin {
		mark = joinMark
	}
	return tokenPrefix + id + "_" + mark + encode(secret)
}

// encode returns b in lower-case letters and digits only, so that a double click selects all of it.
func encode(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// random returns n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// credentialOf returns the credential of the client that used a join token. It is derived and not
// random, so that a client that crashed before storing it gets the same credential again, while the
// server stores only a salt.
func credentialOf(id, join, session string, salt []byte) string {
	mac := hmac.New(sha256.New, []byte(join))
	mac.Write(salt)
	mac.Write([]byte(session))
	return tokenText(id, KindCredential, mac.Sum(nil))
}

func hash(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// TokenHeader carries the token if a proxy in front of the server uses Authorization itself.
const TokenHeader = "Tunnel-Authorization"

// bearer returns the token that a request carries (RFC 6750 section 2.1), "" if there is none. If
// TokenHeader is present, Authorization is ignored.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(cmp.Or(r.Header.Get(TokenHeader),
		r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Carries reports whether a request has a token, right or wrong.
func Carries(r *http.Request) bool { return bearer(r) != "" }

// NewSecret returns 128 random bits as text that needs no quoting in a URL, a shell or JSON.
func NewSecret() string { return base64.RawURLEncoding.EncodeToString(random(16)) }
